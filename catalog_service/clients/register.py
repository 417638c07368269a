"""Register clients, change what they may do, let them in and out."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from catalog_service.clients.client import (
    Client,
    ClientSecret,
    IssuedSecret,
    check_client_id,
    check_given_secret,
    check_name,
    make_secret,
)
from catalog_service.clients.store import ClientStore
from catalog_service.errors import ClientExists
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.http.cursor import cut_page


@dataclass(frozen=True, slots=True)
class RegisterClients:
    """What operators do with clients. `actor` is an admin key's name, or names the command line."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def register(
        self,
        client_id: str,
        *,
        name: str,
        secret: str | None = None,
        may_read_all_clients: bool = False,
        actor: str,
    ) -> tuple[Client, IssuedSecret]:
        """Register a client and return it with its secret, which is not kept; a random one unless `secret` is given.

        Raises ClientExists, and InvalidRequest for an id, name or secret that will not do.
        """
        check_client_id(client_id)
        check_name(name)
        if secret is not None:
            check_given_secret(secret)
        given, now = secret or make_secret(), self.clock()
        client, kept = Client(client_id, name, may_read_all_clients, None, now), ClientSecret.of(given, now)
        async with self.pool.acquire() as connection, connection.transaction():
            store = ClientStore(connection)
            if not await store.insert_client(client):
                raise ClientExists(client_id)
            await store.insert_secret(client_id, kept)
            await AdminAuditStore(connection).insert_line(
                now,
                actor,
                "create_client",
                client_id,
                name=name,
                may_read_all_clients=may_read_all_clients,
                secret_id=kept.secret_id,
            )
        return client, IssuedSecret(client_id, kept.secret_id, given, now, None)

    async def change(
        self,
        client_id: str,
        *,
        name: str | None = None,
        may_read_all_clients: bool | None = None,
        disabled: bool | None = None,
        actor: str,
    ) -> Client:
        """Change what is not None, and return the client. Raises ClientNotFound or InvalidRequest.

        Disabled, it gets no token, and those it has are refused here at once; a permission is in the next token.
        """
        if name is not None:
            check_name(name)
        now = self.clock()
        given = {"name": name, "may_read_all_clients": may_read_all_clients, "disabled": disabled}
        async with self.pool.acquire() as connection, connection.transaction():
            client = await ClientStore(connection).update_client(
                client_id, now, name=name, may_read_all_clients=may_read_all_clients, disabled=disabled
            )
            changes = {field: value for field, value in given.items() if value is not None}
            await AdminAuditStore(connection).insert_line(now, actor, "change_client", client_id, **changes)
        return client

    async def fetch(self, client_id: str) -> Client:
        """Return a client. Raises ClientNotFound."""
        async with self.pool.acquire() as connection:
            return await ClientStore(connection).fetch_client(client_id)

    async def list_clients(self, after: str, limit: int) -> tuple[Sequence[Client], Client | None]:
        """Return a page of clients by id, from after `after` on; its last one if more follow."""
        async with self.pool.acquire() as connection:
            return cut_page(await ClientStore(connection).list_clients(after, limit + 1), limit)
