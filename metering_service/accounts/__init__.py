"""Clients' credits: what they were given, what they spent, and the ledger of both."""
