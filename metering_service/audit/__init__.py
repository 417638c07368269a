"""Compares accounts, holds and ledger with each other."""
