"""What is held about a person, and that it no longer is."""
