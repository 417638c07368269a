"""Grants or denies each billable event by the client's policy, and keeps the ledger of what was charged."""
