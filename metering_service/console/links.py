"""Addresses of the console's pages."""

from urllib.parse import quote, urlencode

PREFIX = "/console"


def link(*parts: str, **query: object) -> str:
    """Return the address of a page: the parts of its path, which may hold anything, and its query."""
    path = "/".join((PREFIX, *(quote(part, safe="") for part in parts)))
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def is_own(address: str) -> bool:
    """Return whether an address that came from outside is a page of the console and leads nowhere else."""
    return address.startswith(f"{PREFIX}/") and "\\" not in address and address.isprintable()
