"""Sessions of the console, and links that log in once, in PostgreSQL."""

from datetime import datetime, timedelta
from typing import Literal

from service_chassis.database.store import Store

Kind = Literal["session", "link"]


class SessionStore(Store):
    """The table `console_session`, through one connection that the caller holds.

    Closes: a link that is opened twice at once (the row is deleted by one of them).
    """

    _DELETE_ENDED = "DELETE FROM console_session WHERE expires_at <= utc_now()"
    _INSERT = """
        INSERT INTO console_session (digest, kind, key_digest, expires_at) VALUES ($1, $2, $3, utc_now() + $4)
        RETURNING expires_at
    """

    async def insert(self, digest: bytes, kind: Kind, key_digest: bytes, lifetime: timedelta) -> datetime:
        """Keep a session or a link and return when it ends; those that have ended are forgotten."""
        await self._connection.execute(self._DELETE_ENDED)
        ends_at: datetime = await self._connection.fetchval(self._INSERT, digest, kind, key_digest, lifetime)
        return ends_at

    _FETCH_KEY = """
        SELECT key_digest FROM console_session WHERE digest = $1 AND kind = 'session' AND expires_at > utc_now()
    """

    async def fetch_key(self, digest: bytes) -> bytes | None:
        """Return the digest of the key that a live session was opened with, None where there is no such session."""
        key_digest: bytes | None = await self._connection.fetchval(self._FETCH_KEY, digest)
        return key_digest

    _TAKE = (
        "DELETE FROM console_session WHERE digest = $1 AND kind = $2 AND expires_at > utc_now() RETURNING key_digest"
    )

    async def take(self, digest: bytes, kind: Kind) -> bytes | None:
        """Delete a session or a link and return the digest of its key; None where it is not there any more."""
        key_digest: bytes | None = await self._connection.fetchval(self._TAKE, digest, kind)
        return key_digest
