"""Signing keys in PostgreSQL, private halves included: who reads this database can make tokens."""

from datetime import datetime

from catalog_service.tokens.signing_key import SigningKey
from service_chassis.database.store import Store

_LOCK = 0x7369676E6B657973
"""Key of the advisory lock under which keys are added."""


class SigningKeyStore(Store):
    """The table `signing_key`, through one connection that the caller holds.

    Closes: two processes that both find no key and both make one, and two rotations at once (`lock_keys`).
    """

    _LOCK_KEYS = "SELECT pg_advisory_xact_lock($1)"

    async def lock_keys(self) -> None:
        """Be the only one to add keys until the transaction ends."""
        await self._connection.execute(self._LOCK_KEYS, _LOCK)

    _LIST_KEYS = """
        SELECT kid, private_pem, created_at, signs_from, published_until FROM signing_key ORDER BY signs_from, kid
    """

    async def list_keys(self) -> list[SigningKey]:
        """Return all keys, the one that signs last at the end."""
        return [SigningKey(**row) for row in await self._connection.fetch(self._LIST_KEYS)]

    _INSERT_KEY = """
        INSERT INTO signing_key (kid, private_pem, created_at, signs_from) VALUES ($1, $2, $3, $4)
    """

    async def insert_key(self, key: SigningKey) -> None:
        """Add a key."""
        await self._connection.execute(self._INSERT_KEY, key.kid, key.private_pem, key.created_at, key.signs_from)

    _RETIRE_KEYS = "UPDATE signing_key SET published_until = $1 WHERE published_until IS NULL"

    async def retire_keys(self, published_until: datetime) -> None:
        """Let every key that has no end yet be published until then and no longer."""
        await self._connection.execute(self._RETIRE_KEYS, published_until)

    _DELETE_RETIRED = "DELETE FROM signing_key WHERE published_until <= $1"

    async def delete_retired(self, now: datetime) -> None:
        """Forget the keys that nobody believes any more."""
        await self._connection.execute(self._DELETE_RETIRED, now)
