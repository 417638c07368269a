"""The files that pages are made up with: read once, compressed once, named by their content."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from metering_service.console.links import link

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent. Its address changes with its content, so a browser may keep it."""

    name: str
    content_type: str
    body: bytes
    compressed: bytes
    etag: str

    @property
    def address(self) -> str:
        """Where it is found, by these very bytes."""
        return link("static", self.name, v=self.etag)


def _read(path: Path) -> StaticFile:
    body = path.read_bytes()
    etag = hashlib.sha256(body).hexdigest()[:16]
    return StaticFile(path.name, _TYPES[path.suffix], body, gzip.compress(body, mtime=0), etag)


FILES = {path.name: _read(path) for path in sorted(_DIRECTORY.iterdir())}


async def show_file(request: web.Request) -> web.Response:
    """GET /console/static/{name}: for everybody, it says nothing about anybody."""
    file = FILES.get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    headers = {"ETag": f'"{file.etag}"', "Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
    if f'"{file.etag}"' in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = file.compressed, "gzip"
    return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=headers)
