"""What was decided about a client's events, and why: charges and refusals with their receipts."""
