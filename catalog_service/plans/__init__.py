"""The plans of clients."""
