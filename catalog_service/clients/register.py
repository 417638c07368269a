"""Register clients, let them in and out, and change their secrets."""

from datetime import datetime, timedelta

import asyncpg

from catalog_service.clients.client import Client, check_registration, hash_secret, make_secret
from catalog_service.clients.store import ClientStore
from catalog_service.database import borrow_connection
from catalog_service.errors import ClientExists, ClientNotFound


async def register_client(
    pool: asyncpg.Pool,
    client_id: str,
    *,
    name: str,
    secret: str | None,
    may_read_all_clients: bool,
    now: datetime,
) -> str:
    """Register a client and answer its secret, which is not kept; a random one unless `secret` is given.

    Raises ClientExists, without looking at the secret, and OperatorError for an id, name or secret that will
    not do.
    """
    check_registration(client_id, name, secret)
    secret = secret or make_secret()
    client = Client(client_id, name, may_read_all_clients, None, now)
    async with borrow_connection(pool) as connection, connection.transaction():
        store = ClientStore(connection)
        if not await store.insert_client(client):
            raise ClientExists(client_id)
        await store.insert_secret(client_id, hash_secret(secret), now)
    return secret


async def rotate_secret(pool: asyncpg.Pool, client_id: str, *, overlap: timedelta, now: datetime) -> str:
    """Make a new secret and answer it; the present one is good for another `overlap`, older ones end now.

    Raises ClientNotFound.
    """
    secret = make_secret()
    async with borrow_connection(pool) as connection, connection.transaction():
        store = ClientStore(connection)
        if not await store.lock_client(client_id):
            raise ClientNotFound(client_id)
        await store.expire_secrets(client_id, present_until=now + overlap, now=now)
        await store.insert_secret(client_id, hash_secret(secret), now)
    return secret


async def set_client_disabled(pool: asyncpg.Pool, client_id: str, *, disabled: bool, now: datetime) -> None:
    """Disable or enable a client. Disabled, it gets no token and those it has are refused at once.

    Raises ClientNotFound.
    """
    async with borrow_connection(pool) as connection:
        if not await ClientStore(connection).set_disabled(client_id, disabled, now):
            raise ClientNotFound(client_id)


async def list_clients(pool: asyncpg.Pool) -> list[Client]:
    """Answer every client, by id."""
    async with borrow_connection(pool) as connection:
        return await ClientStore(connection).list_clients()
