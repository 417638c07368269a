"""What was charged, by client, event type and day."""
