"""JSON responses, written to the connection in one piece.

aiohttp builds a response's headers as a multidict, lets signal handlers look at them and serializes them: a third of
what a small request costs. Here the head is put together from a few kept bytes. It is still a `web.Response` for
everything that handles one.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from service_chassis.http.request_context import REQUEST_ID

SERVER_NAME = "http"
"""The `Server` header. aiohttp's own names its version and Python's."""
CONTENT_TYPE = "application/json"
_COPY_BYTES = 64 * 1024
"""Up to here copying a body behind its head is cheaper than a second piece to send."""


class JsonResponse(web.Response):
    """A response whose body is JSON bytes. `headers` are those beyond the ones that every response has."""

    def __init__(self, body: bytes, status: int = 200, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status=status, headers=headers, content_type=CONTENT_TYPE)
        self._json = body
        self._is_sent = False
        self._stays_open: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open behind this response; None before that is decided."""
        return self._stays_open

    def force_close(self) -> None:
        """Let this response be the last of its connection."""
        self._stays_open = False

    @property
    def body(self) -> bytes:
        """The JSON bytes."""
        return self._json

    @body.setter
    def body(self, _: object) -> None:
        """Leave the body alone: aiohttp's constructor sets one."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole response. Raises ConnectionResetError when the caller is gone."""
        if self._is_sent:
            return None
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller is gone")
        self._is_sent = True
        head = self._make_head(request)
        body = b"" if request.method == "HEAD" else self._json
        if len(body) <= _COPY_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all was sent."""

    def _make_head(self, request: web.BaseRequest) -> bytes:
        if self._stays_open is None:
            self._stays_open = request.keep_alive
        version = request.version
        lines = _start_head(version.major, version.minor, self.status)
        lines += f"Content-Length: {len(self._json)}\r\nDate: {_format_date(int(time.time()))}\r\n"
        request_id = request.get(REQUEST_ID)
        if request_id is not None:
            lines += f"X-Request-ID: {request_id}\r\n"
        for name, value in self.headers.items():
            if "\r" in value or "\n" in value:
                raise ValueError("a header's value holds a line break")
            lines += f"{name}: {value}\r\n"
        if not self._stays_open:
            lines += "Connection: close\r\n"
        elif version.minor == 0:
            lines += "Connection: keep-alive\r\n"
        return (lines + "\r\n").encode()


@lru_cache(maxsize=256)
def _start_head(major: int, minor: int, status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/{major}.{minor} {status} {phrase}\r\nServer: {SERVER_NAME}\r\n"


@lru_cache(maxsize=2)
def _format_date(second: int) -> str:
    return formatdate(second, usegmt=True)
