"""Request rates."""
