"""What was charged and refused, by client, event type and day."""
