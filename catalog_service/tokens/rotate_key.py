"""Make the first signing key, and replace the present one without a refused token."""

from datetime import datetime, timedelta

import asyncpg

from catalog_service.database import borrow_connection
from catalog_service.tokens.signing_key import SigningKey, make_key, plan_rotation
from catalog_service.tokens.signing_key_store import SigningKeyStore


async def ensure_signing_key(pool: asyncpg.Pool, now: datetime) -> list[SigningKey]:
    """Answer all keys, after making one that signs at once if there was none."""
    # Shorter than other work: a request may do this on top of its own two pieces.
    async with borrow_connection(pool, timeout_seconds=1.0) as connection:
        store = SigningKeyStore(connection)
        if keys := await store.list_keys():
            return keys
        async with connection.transaction():
            await store.lock_keys()
            if not await store.list_keys():
                await store.insert_key(make_key(now, signs_from=now))
        return await store.list_keys()


async def rotate_signing_key(pool: asyncpg.Pool, *, token_lifetime: timedelta, now: datetime) -> SigningKey:
    """Add a key that takes over when everybody can have it, and answer it.

    The present key stays published until its last token has run out; keys past that are forgotten.
    """
    key, others_published_until = plan_rotation(now, token_lifetime)
    async with borrow_connection(pool) as connection, connection.transaction():
        store = SigningKeyStore(connection)
        await store.lock_keys()
        await store.delete_retired(now)
        await store.retire_keys(others_published_until)
        await store.insert_key(key)
    return key


async def list_signing_keys(pool: asyncpg.Pool) -> list[SigningKey]:
    """Answer all keys, the youngest last."""
    async with borrow_connection(pool) as connection:
        return await SigningKeyStore(connection).list_keys()
