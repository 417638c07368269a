"""Clients' credits, and the ledger."""
