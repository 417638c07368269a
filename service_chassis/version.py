"""The version of all three services: in their documents, and for `--version`."""

VERSION = "1.0.0"
"""The one in `pyproject.toml`, which an image does not carry; a test holds them together."""
