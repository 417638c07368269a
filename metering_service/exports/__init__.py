"""A client's ledger and usage, whole, for other people's programs."""
