"""Refusals: kept for a while, so that a customer's question has an answer."""
