"""Holds accounts, holds and ledger against each other."""
