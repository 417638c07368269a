"""The public HTTP API: a file per resource."""
