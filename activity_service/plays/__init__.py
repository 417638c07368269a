"""Plan plays: created, changed, read."""
