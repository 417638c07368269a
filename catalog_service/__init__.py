"""Clients, the access tokens they get, and the plans they own."""
