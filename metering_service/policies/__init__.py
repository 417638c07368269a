"""Policies, their versions, and which client has which."""
