"""Paths of routes whose parameters are ids that callers chose."""

import re

_PARAMETER = re.compile(r"\{(\w+)\}")


def take_any_id(path: str) -> str:
    """Return a path whose parameters match all but a slash. aiohttp's own match no braces, which ids may have."""
    return _PARAMETER.sub(r"{\1:[^/]+}", path)
