"""Page cursors that only we can make, each good for one list of one caller."""

import base64
import hashlib
import hmac
from typing import Any

import orjson

from service_chassis.errors import InvalidRequest

_TAG_BYTES = 16


class CursorSigner:
    """Seals a position into an opaque string, bound to the list it belongs to.

    `scope` is whatever makes the list what it is: route, client, filters. A cursor of another scope, an
    altered one and a made-up one are all refused alike.
    """

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(secret.encode()).digest()

    def seal(self, position: list[Any], scope: list[Any]) -> str:
        """Answer the cursor for `position`, a list of JSON values."""
        payload = orjson.dumps(position)
        return _encode(self._tag(payload, scope) + payload)

    def open(self, cursor: str, scope: list[Any]) -> list[Any]:
        """Answer the position sealed in `cursor`. Raises InvalidRequest naming `cursor`."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if _encode(raw) != cursor:  # the last character has bits that no byte needs
                raw = b""
        except ValueError:
            raw = b""
        tag, payload = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(payload, scope)):
            raise InvalidRequest.field("cursor", "Must be a nextCursor of this same list.")
        position: list[Any] = orjson.loads(payload)
        return position

    def _tag(self, payload: bytes, scope: list[Any]) -> bytes:
        bound = orjson.dumps(scope, default=str) + b"\n" + payload
        return hmac.digest(self._key, bound, "sha256")[:_TAG_BYTES]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
