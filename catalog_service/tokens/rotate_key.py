"""Make the first signing key, and replace the present one without a refused token."""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from catalog_service.tokens.signing_key import SigningKey, make_key, plan_rotation
from catalog_service.tokens.signing_key_store import SigningKeyStore
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore

_ENSURE_TIMEOUT_SECONDS = 1.0
"""Shorter than other work: a request may do this on top of its own two pieces."""


@dataclass(frozen=True, slots=True)
class RotateKeys:
    """Makes signing keys."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def ensure(self) -> list[SigningKey]:
        """Return all keys, after making one that signs at once if there was none."""
        now = self.clock()
        async with self.pool.acquire(
            timeout=_ENSURE_TIMEOUT_SECONDS / 2, work_seconds=_ENSURE_TIMEOUT_SECONDS
        ) as connection:
            store = SigningKeyStore(connection)
            if keys := await store.list_keys():
                return keys
            async with connection.transaction():
                await store.lock_keys()
                if not await store.list_keys():
                    await store.insert_key(make_key(now, signs_from=now))
            return await store.list_keys()

    async def rotate(self, *, token_lifetime: timedelta, actor: str) -> SigningKey:
        """Add a key that takes over when everybody can have it, and return it.

        The present key stays published until its last token has run out; keys past that are forgotten.
        """
        now = self.clock()
        key, others_published_until = plan_rotation(now, token_lifetime)
        async with self.pool.acquire() as connection, connection.transaction():
            store = SigningKeyStore(connection)
            await store.lock_keys()
            await store.delete_retired(now)
            await store.retire_keys(others_published_until)
            await store.insert_key(key)
            await AdminAuditStore(connection).insert_line(
                now, actor, "rotate_key", key.kid, signs_from=key.signs_from
            )
        return key

    async def list_keys(self) -> list[SigningKey]:
        """Return all keys, the youngest last."""
        async with self.pool.acquire() as connection:
            return await SigningKeyStore(connection).list_keys()
