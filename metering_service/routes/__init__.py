"""The internal HTTP API, a module per group of calls."""
