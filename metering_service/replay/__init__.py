"""What a draft of a policy would have made of the last days."""
