"""Register clients, let them in and out, and change their secrets."""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from catalog_service.clients.client import Client, check_registration, hash_secret, make_secret
from catalog_service.clients.store import ClientStore
from catalog_service.errors import ClientExists, ClientNotFound
from service_chassis.clock import Clock, system_clock


@dataclass(frozen=True, slots=True)
class RegisterClients:
    """What operators do with clients."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def register(
        self, client_id: str, *, name: str, secret: str | None = None, may_read_all_clients: bool = False
    ) -> str:
        """Register a client and return its secret, which is not kept; a random one unless `secret` is given.

        Raises ClientExists, without looking at the secret, and OperatorError for an id, name or secret that will
        not do.
        """
        check_registration(client_id, name, secret)
        secret, now = secret or make_secret(), self.clock()
        async with self.pool.acquire() as connection, connection.transaction():
            store = ClientStore(connection)
            if not await store.insert_client(Client(client_id, name, may_read_all_clients, None, now)):
                raise ClientExists(client_id)
            await store.insert_secret(client_id, hash_secret(secret), now)
        return secret

    async def rotate_secret(self, client_id: str, *, overlap: timedelta) -> str:
        """Return a new secret; the present one is good for another `overlap`, older ones end now.

        Raises ClientNotFound.
        """
        secret, now = make_secret(), self.clock()
        async with self.pool.acquire() as connection, connection.transaction():
            store = ClientStore(connection)
            if not await store.lock_client(client_id):
                raise ClientNotFound(client_id)
            await store.expire_secrets(client_id, present_until=now + overlap, now=now)
            await store.insert_secret(client_id, hash_secret(secret), now)
        return secret

    async def set_disabled(self, client_id: str, disabled: bool) -> None:
        """Disable or enable a client. Disabled, it gets no token and those it has are refused at once.

        Raises ClientNotFound.
        """
        async with self.pool.acquire() as connection:
            if not await ClientStore(connection).set_disabled(client_id, disabled, self.clock()):
                raise ClientNotFound(client_id)

    async def list_clients(self) -> list[Client]:
        """Return every client, by id."""
        async with self.pool.acquire() as connection:
            return await ClientStore(connection).list_clients()
