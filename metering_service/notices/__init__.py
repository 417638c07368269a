"""Notices: what a provider is told of its clients, and the webhooks that tell it."""
