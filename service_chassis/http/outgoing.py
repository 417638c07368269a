"""Calls to other services: what is said of an address, and of one that cannot be reached, without a secret."""

from urllib.parse import urlsplit

import aiohttp

_IN_OUR_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.InvalidURL, "the URL cannot be called"),
    (aiohttp.ClientConnectorDNSError, "its name is not found"),
    (aiohttp.ClientSSLError, "TLS fails: its certificate is not accepted, or it speaks none"),
    (aiohttp.ServerTimeoutError, "it took too long"),
    (TimeoutError, "it took too long"),
    (aiohttp.ServerDisconnectedError, "it closed the connection"),
    (aiohttp.ClientConnectorError, "nobody listens there"),
    (aiohttp.ClientResponseError, "its response is no HTTP"),
    (aiohttp.ClientPayloadError, "its response broke off"),
    (ConnectionError, "the connection broke"),
    (aiohttp.ClientError, "the connection broke"),
    (ValueError, "the URL or the response cannot be used"),
)
"""What a fault means, the first kind that fits."""


def describe_fault(error: Exception) -> str:
    """Return why a call failed: in words, with the kind of the fault that an operator can look up."""
    cause = getattr(error, "os_error", None) or error
    words = next((words for kind, words in _IN_OUR_WORDS if isinstance(error, kind)), "it failed")
    return f"{words} ({type(cause).__name__})"


def show_address(url: str) -> str:
    """Return a URL without what may be a secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
