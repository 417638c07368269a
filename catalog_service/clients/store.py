"""Clients and their secrets in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from catalog_service.clients.client import Client, ClientState, Credentials


class ClientStore:
    """The tables `client` and `client_secret`, through one connection that the caller holds.

    Closes: two registrations of one id (primary key), two rotations at once (`lock_client`).
    Leaves open: a token issued in the same instant as its client is disabled. Such a token is refused from the
    next request on, because every request asks for the client's state.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _INSERT_CLIENT = """
        INSERT INTO client (client_id, name, may_read_all_clients, created_at)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT client_pkey DO NOTHING
        RETURNING client_id
    """

    async def insert_client(self, client: Client) -> bool:
        """Add `client`, enabled and without plans; False when its id is taken."""
        inserted = await self._connection.fetchval(
            self._INSERT_CLIENT, client.client_id, client.name, client.may_read_all_clients, client.created_at
        )
        return inserted is not None

    _INSERT_HASH = "INSERT INTO client_secret (client_id, sha256, created_at) VALUES ($1, $2, $3)"

    async def insert_secret(self, client_id: str, sha256: bytes, now: datetime) -> None:
        """Add a secret that is good until it is rotated."""
        await self._connection.execute(self._INSERT_HASH, client_id, sha256, now)

    _EXPIRE_SECRETS = """
        UPDATE client_secret
        SET expires_at = CASE WHEN expires_at IS NULL THEN $2::timestamptz ELSE $3::timestamptz END
        WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $3)
    """

    async def expire_secrets(self, client_id: str, *, present_until: datetime, now: datetime) -> None:
        """Let the present secret end at `present_until`, and one that was ending already end now."""
        await self._connection.execute(self._EXPIRE_SECRETS, client_id, present_until, now)

    _LOCK_CLIENT = "SELECT client_id FROM client WHERE client_id = $1 FOR NO KEY UPDATE"

    async def lock_client(self, client_id: str) -> bool:
        """Hold the client's row until the transaction ends; False when there is none."""
        return await self._connection.fetchval(self._LOCK_CLIENT, client_id) is not None

    # One row whether the client exists or not, and its secrets are looked up in either case.
    _FETCH_CREDENTIALS = """
        SELECT client.client_id IS NOT NULL AS known,
               client.disabled_at IS NOT NULL AS disabled,
               coalesce(client.may_read_all_clients, false) AS may_read_all_clients,
               ARRAY(
                   SELECT sha256 FROM client_secret
                   WHERE client_secret.client_id = asked.client_id AND (expires_at IS NULL OR expires_at > $2)
                   ORDER BY expires_at DESC NULLS FIRST
               ) AS secret_hashes
        FROM (VALUES ($1::text)) AS asked (client_id)
        LEFT JOIN client ON client.client_id = asked.client_id
    """

    async def fetch_credentials(self, client_id: str, now: datetime) -> Credentials:
        """Return what opens this client at `now`; for an unknown one, credentials that nothing opens."""
        row = await self._connection.fetchrow(self._FETCH_CREDENTIALS, client_id, now)
        return Credentials(**row)

    _LIST_STATES = """
        SELECT client_id, plans_version, disabled_at IS NOT NULL AS disabled
        FROM client WHERE client_id = ANY($1::text[])
    """

    async def list_states(self, client_ids: Sequence[str]) -> list[ClientState]:
        """Return the state of those of `client_ids` that exist, in any order."""
        return [ClientState(*row) for row in await self._connection.fetch(self._LIST_STATES, client_ids)]

    _SET_DISABLED = """
        UPDATE client SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, $3::timestamptz) END
        WHERE client_id = $1 RETURNING client_id
    """

    async def set_disabled(self, client_id: str, disabled: bool, now: datetime) -> bool:
        """Disable or enable a client; a second time changes nothing. False when there is none."""
        return await self._connection.fetchval(self._SET_DISABLED, client_id, disabled, now) is not None

    _LIST_CLIENTS = """
        SELECT client_id, name, may_read_all_clients, disabled_at, created_at FROM client ORDER BY client_id
    """

    async def list_clients(self) -> list[Client]:
        """Return every client, by id."""
        return [Client(**row) for row in await self._connection.fetch(self._LIST_CLIENTS)]
