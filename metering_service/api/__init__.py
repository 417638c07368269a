"""The internal HTTP API: a file per resource."""
