"""Clients, their secrets, and their present state."""
