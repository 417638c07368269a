"""Calls to other services: what log and traces tell of one, what is said of an address and of one that cannot be
reached, without a secret.
"""

import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp

from service_chassis.http.request_context import Origin, onward_headers
from service_chassis.operations import tracing
from service_chassis.operations.logging import log_access

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


class OutgoingCall:
    """A call to another service, which is to be ended: one line in the log, and one span, with all its requests.

    `headers` are to be sent, and `status` is set as soon as there is one; of a call that is tried again, the last.
    """

    __slots__ = ("_began", "_name", "_origins", "_span", "headers", "status")

    def __init__(
        self, name: str, origins: Sequence[Origin], headers: Mapping[str, str], *, is_part: bool = True
    ) -> None:
        """Make it for the requests `origins`; `is_part`: they wait for it."""
        self.headers = {**headers, **onward_headers(origins)}
        self.status: int | None = None
        self._name = name
        self._origins = origins
        self._began = time.perf_counter()
        self._span = None
        if tracing.spans is not None:
            requests = [origin.traceparent for origin in origins if origin.traceparent is not None]
            self._span = tracing.spans.begin_call(name, requests, is_part=is_part)
            self.headers["traceparent"] = self._span.traceparent

    def end(self) -> None:
        """Log it, and end its span."""
        fields = {
            "event": "call",
            "call": self._name,
            "status": self.status,
            "ms": round((time.perf_counter() - self._began) * 1000, 1),
            "requests": [origin.request_id for origin in self._origins],
        }
        # What goes on all the time for nobody, and goes well, is no news.
        if self._origins or self.status != 200:
            log_access(fields)
        if self._span is not None:
            self._span.end(self.status, {})


def describe_fault(error: Exception) -> str:
    """Return why a call failed: in words, with the kind of the fault that an operator can look up."""
    cause = getattr(error, "os_error", None) or error
    words = next((words for kind, words in _IN_OUR_WORDS if isinstance(error, kind)), "it failed")
    return f"{words} ({type(cause).__name__})"


def show_address(url: str) -> str:
    """Return a URL without what may be a secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
