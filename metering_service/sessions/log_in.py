"""Log in to the console with an admin key, or by a link that was made with one; and out."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from metering_service.sessions.store import SessionStore
from service_chassis.auth.service_keys import ServiceKey
from service_chassis.errors import Unauthorized

SESSION_LIFETIME = timedelta(hours=8)
"""A working day, whatever is done in it; then the key is asked for again."""
LINK_LIFETIME = timedelta(minutes=10)
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in: the name of the key, and what forms have to bring back."""

    actor: str
    csrf_token: str


@dataclass(frozen=True, slots=True)
class ConsoleSessions:
    """Opens and ends sessions. `service_keys` are by their SHA-256; only those of scope `admin` open one.

    A session is good for as long as its key is one of them, in every process. No secret is stored, only its SHA-256.
    """

    pool: asyncpg.Pool
    service_keys: Mapping[bytes, ServiceKey]

    async def log_in(self, credential: str) -> str:
        """Return the secret of a new session. Raises Unauthorized unless `credential` is an admin key."""
        return await self._open(self._digest_key(credential))

    async def make_link(self, credential: str) -> tuple[str, datetime]:
        """Return the secret of a link that logs in once, and when it ends. Raises Unauthorized as `log_in`."""
        key_digest = self._digest_key(credential)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        ends_at = await SessionStore(self.pool).insert(_hash(secret), "link", key_digest, LINK_LIFETIME)
        return secret, ends_at

    async def follow_link(self, secret: str) -> str:
        """Use a link up and return the secret of a new session. Raises Unauthorized for one that is not good."""
        key_digest = await SessionStore(self.pool).take(_hash(secret), "link")
        if key_digest is None or self._find_name(key_digest) is None:
            raise Unauthorized
        return await self._open(key_digest)

    async def find(self, secret: str) -> Session | None:
        """Return the session of a secret, None where it has ended, or its key is gone."""
        key_digest = await SessionStore(self.pool).fetch_key(_hash(secret))
        name = key_digest and self._find_name(key_digest)
        return Session(name, _make_csrf_token(secret)) if name else None

    async def log_out(self, secret: str) -> None:
        """End a session."""
        await SessionStore(self.pool).take(_hash(secret), "session")

    async def _open(self, key_digest: bytes) -> str:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        await SessionStore(self.pool).insert(_hash(secret), "session", key_digest, SESSION_LIFETIME)
        return secret

    def _digest_key(self, credential: str) -> bytes:
        digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
        key = self.service_keys.get(digest)
        if key is None or key.scope != "admin":
            raise Unauthorized
        return hashlib.sha256(digest).digest()

    def _find_name(self, key_digest: bytes) -> str | None:
        for digest, key in self.service_keys.items():
            if key.scope == "admin" and hmac.compare_digest(hashlib.sha256(digest).digest(), key_digest):
                return key.name
        return None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _make_csrf_token(secret: str) -> str:
    """Return what a form of this session carries: nobody makes it without the cookie, and it opens nothing."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"csrf", hashlib.sha256).hexdigest()
