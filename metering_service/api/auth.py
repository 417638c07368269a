"""Who may call: service keys, configured as hashes, each with a scope."""

import hashlib
import re
from collections.abc import Iterable

from aiohttp import web

from service_chassis.auth.bearer import InvalidToken, read_bearer
from service_chassis.errors import Forbidden, Unauthorized
from service_chassis.settings import InvalidSettings

SCOPES = ("events", "admin")
_ENTRY = re.compile(r"(events|admin):([0-9a-fA-F]{64})")


class ServiceKeys:
    """The keys that are let in. A key is random and long, so its plain SHA-256 is safe to keep and to look up."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Read `scope:sha256hex` entries. Raises InvalidSettings."""
        self._scopes: dict[bytes, str] = {}
        for entry in entries:
            match = _ENTRY.fullmatch(entry.strip())
            if match is None:
                raise InvalidSettings(
                    "METERING_SERVICE_KEYS: each entry must be events:SHA256 or admin:SHA256, in hex"
                )
            self._scopes[bytes.fromhex(match[2])] = match[1]

    def authenticate(self, request: web.Request, *allowed: str) -> str:
        """Answer the scope of the request's key. Raises Unauthorized, or Forbidden when it is not `allowed`."""
        try:
            key = read_bearer(request)
        except InvalidToken:
            key = ""
        scope = self._scopes.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())
        if scope is None:
            raise Unauthorized(headers={"WWW-Authenticate": "Bearer"})
        if scope not in allowed:
            raise Forbidden(f"This call needs a key of scope {' or '.join(allowed)}")
        return scope
