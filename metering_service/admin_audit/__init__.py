"""The trail of administrative changes."""
