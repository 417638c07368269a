"""A table of calls: routed, documented, and shown on a page."""
