"""Give clients secrets and take them away, several live ones at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from catalog_service.clients.client import MAX_LIVE_SECRETS, ClientSecret, IssuedSecret, make_secret
from catalog_service.clients.store import ClientStore
from catalog_service.errors import SecretEnds, SecretNotFound, TooManySecrets
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.errors import InvalidRequest

_THE_CLIENT = "the client"
"""Who rotated its own secret, in the audit trail. No key's name has a blank in it."""


@dataclass(frozen=True, slots=True)
class ChangeSecrets:
    """What operators, and clients themselves, do with secrets.

    `actor` is an admin key's name, or names the command line.
    """

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def list_live(self, client_id: str) -> list[ClientSecret]:
        """Return the client's live secrets, oldest first. Raises ClientNotFound."""
        async with self.pool.acquire() as connection:
            store = ClientStore(connection)
            await store.fetch_client(client_id)
            return await store.list_secrets(client_id, self.clock())

    async def issue(self, client_id: str, *, expires_at: datetime | None = None, actor: str) -> IssuedSecret:
        """Return a further secret, good until `expires_at` or, without, until it is told to end.

        Raises ClientNotFound, TooManySecrets, or InvalidRequest for a moment that is not to come.
        """
        now = self.clock()
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest.field("expires_at", "Must be in the future.")
        async with self._change(client_id) as connection:
            issued = await _insert(connection, client_id, now, expires_at)
            await AdminAuditStore(connection).insert_line(
                now, actor, "issue_secret", client_id, secret_id=issued.secret_id, expires_at=expires_at
            )
        return issued

    async def revoke(self, client_id: str, secret_id: str, *, actor: str) -> None:
        """Take a live secret away, so that it opens nothing from now on. Raises ClientNotFound or SecretNotFound."""
        now = self.clock()
        async with self._change(client_id) as connection:
            if not await ClientStore(connection).delete_secret(client_id, secret_id, now):
                raise SecretNotFound(secret_id)
            await AdminAuditStore(connection).insert_line(now, actor, "revoke_secret", client_id, secret_id=secret_id)

    async def rotate_all(self, client_id: str, *, overlap: timedelta, actor: str) -> IssuedSecret:
        """Return a new secret; those without an end are good for another `overlap`, those with one end now.

        Raises ClientNotFound or TooManySecrets.
        """
        now = self.clock()
        async with self._change(client_id) as connection:
            await ClientStore(connection).expire_secrets(client_id, present_until=now + overlap, now=now)
            return await _replace(connection, client_id, now, actor, now + overlap)

    async def rotate_own(self, client_id: str, present: ClientSecret, *, overlap: timedelta) -> IssuedSecret:
        """Return a secret that takes the place of `present`, which the client showed: it is good for `overlap` yet.

        Its other secrets stay as they are. Raises SecretEnds when `present` has an end already, so that a secret
        that is on its way out makes no successor, or TooManySecrets.
        """
        now = self.clock()
        async with self._change(client_id) as connection:
            if not await ClientStore(connection).expire_secret(client_id, present.secret_id, now + overlap):
                raise SecretEnds
            return await _replace(connection, client_id, now, _THE_CLIENT, now + overlap)

    @asynccontextmanager
    async def _change(self, client_id: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, in a transaction that holds the client's row. Raises ClientNotFound."""
        async with self.pool.acquire() as connection, connection.transaction():
            await ClientStore(connection).lock_client(client_id)
            yield connection


async def _replace(
    connection: asyncpg.Connection, client_id: str, now: datetime, actor: str, until: datetime
) -> IssuedSecret:
    issued = await _insert(connection, client_id, now, None)
    await AdminAuditStore(connection).insert_line(
        now, actor, "rotate_secret", client_id, secret_id=issued.secret_id, previous_until=until
    )
    return issued


async def _insert(
    connection: asyncpg.Connection, client_id: str, now: datetime, expires_at: datetime | None
) -> IssuedSecret:
    store, made = ClientStore(connection), make_secret()
    await store.delete_ended(client_id, now)
    if len(await store.list_secrets(client_id, now)) >= MAX_LIVE_SECRETS:
        raise TooManySecrets(MAX_LIVE_SECRETS)
    kept = ClientSecret.of(made, now, expires_at)
    await store.insert_secret(client_id, kept)
    return IssuedSecret(client_id, kept.secret_id, made, now, expires_at)
