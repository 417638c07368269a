"""Clients and their secrets in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import NoReturn

from catalog_service.clients.client import Client, ClientSecret, ClientState, Credentials
from catalog_service.errors import ClientNotFound
from service_chassis.database.store import Store


class ClientStore(Store):
    """The tables `client` and `client_secret`, through one connection that the caller holds.

    Closes: two registrations of one id (primary key), two changes of one client's secrets at once (`lock_client`).
    Leaves open: a token issued in the same instant as its client is disabled. Such a token is refused from the
    next request on, because every request asks for the client's state.
    """

    _INSERT_CLIENT = """
        INSERT INTO client (client_id, name, may_read_all_clients, created_at)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT client_pkey DO NOTHING
        RETURNING client_id
    """

    async def insert_client(self, client: Client) -> bool:
        """Add `client`, enabled and without plans; False when its id is taken."""
        values = (client.client_id, client.name, client.may_read_all_clients, client.created_at)
        return await self._connection.fetchval(self._INSERT_CLIENT, *values) is not None

    _INSERT_HASH = """
        INSERT INTO client_secret (client_id, secret_id, sha256, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5)
    """

    async def insert_secret(self, client_id: str, secret: ClientSecret) -> None:
        """Add a secret."""
        await self._connection.execute(
            self._INSERT_HASH, client_id, secret.secret_id, secret.sha256, secret.created_at, secret.expires_at
        )

    _EXPIRE_SECRETS = """
        UPDATE client_secret
        SET expires_at = CASE WHEN expires_at IS NULL THEN $2::timestamptz ELSE $3::timestamptz END
        WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $3)
    """

    async def expire_secrets(self, client_id: str, *, present_until: datetime, now: datetime) -> None:
        """Let those secrets end at `present_until` that have no end, and those that have one end now."""
        await self._connection.execute(self._EXPIRE_SECRETS, client_id, present_until, now)

    _EXPIRE_ONE = """
        UPDATE client_secret SET expires_at = $3
        WHERE client_id = $1 AND secret_id = $2 AND expires_at IS NULL RETURNING secret_id
    """

    async def expire_secret(self, client_id: str, secret_id: str, until: datetime) -> bool:
        """Let one secret that has no end have one; False when there is none, or it has one."""
        return await self._connection.fetchval(self._EXPIRE_ONE, client_id, secret_id, until) is not None

    _DELETE_ONE = """
        DELETE FROM client_secret
        WHERE client_id = $1 AND secret_id = $2 AND (expires_at IS NULL OR expires_at > $3) RETURNING secret_id
    """

    async def delete_secret(self, client_id: str, secret_id: str, now: datetime) -> bool:
        """Take a live secret away; False when there is none of this id."""
        return await self._connection.fetchval(self._DELETE_ONE, client_id, secret_id, now) is not None

    _DELETE_ENDED = "DELETE FROM client_secret WHERE client_id = $1 AND expires_at <= $2"

    async def delete_ended(self, client_id: str, now: datetime) -> None:
        """Forget the client's secrets that nothing opens any more."""
        await self._connection.execute(self._DELETE_ENDED, client_id, now)

    _LIST_SECRETS = """
        SELECT secret_id, sha256, created_at, expires_at, last_used_at FROM client_secret
        WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at, secret_id
    """

    async def list_secrets(self, client_id: str, now: datetime) -> list[ClientSecret]:
        """Return the client's live secrets, oldest first."""
        return [ClientSecret(**row) for row in await self._connection.fetch(self._LIST_SECRETS, client_id, now)]

    _NOTE_USE = """
        UPDATE client_secret SET last_used_at = $3
        WHERE client_id = $1 AND secret_id = $2 AND last_used_at IS NOT DISTINCT FROM $4
    """

    async def note_use(self, client_id: str, secret: ClientSecret, now: datetime) -> None:
        """Note when a secret was used, unless somebody else just did."""
        await self._connection.execute(self._NOTE_USE, client_id, secret.secret_id, now, secret.last_used_at)

    _LOCK_CLIENT = "SELECT client_id FROM client WHERE client_id = $1 FOR NO KEY UPDATE"

    async def lock_client(self, client_id: str) -> None:
        """Hold the client's row until the transaction ends. Raises ClientNotFound."""
        if await self._connection.fetchval(self._LOCK_CLIENT, client_id) is None:
            await self._refuse_unknown(client_id)

    # A row for each live secret, and one whether the client exists or not; secrets are looked up in either case.
    _FETCH_CREDENTIALS = """
        SELECT client.client_id IS NOT NULL AS known,
               client.disabled_at IS NOT NULL AS disabled,
               coalesce(client.may_read_all_clients, false) AS may_read_all_clients,
               secret_id, sha256, secret.created_at, expires_at, last_used_at
        FROM (VALUES ($1::text)) AS asked (client_id)
        LEFT JOIN client ON client.client_id = asked.client_id
        LEFT JOIN client_secret AS secret
            ON secret.client_id = asked.client_id AND (expires_at IS NULL OR expires_at > $2)
        ORDER BY secret.created_at DESC
    """

    async def fetch_credentials(self, client_id: str, now: datetime) -> Credentials:
        """Return what opens this client at `now`; for an unknown one, credentials that nothing opens."""
        rows = await self._connection.fetch(self._FETCH_CREDENTIALS, client_id, now)
        known, disabled, may_read_all_clients, *_ = rows[0]
        secrets = [ClientSecret(*secret) for _, _, _, *secret in rows if secret[0] is not None]
        return Credentials(known, disabled, may_read_all_clients, secrets)

    _LIST_STATES = """
        SELECT client_id, plans_version, disabled_at IS NOT NULL AS disabled
        FROM client WHERE client_id = ANY($1::text[])
    """

    async def list_states(self, client_ids: Sequence[str]) -> list[ClientState]:
        """Return the state of those of `client_ids` that exist, in any order."""
        return [ClientState(*row) for row in await self._connection.fetch(self._LIST_STATES, client_ids)]

    _UPDATE_CLIENT = """
        UPDATE client SET
            name = coalesce($2, name),
            may_read_all_clients = coalesce($3, may_read_all_clients),
            disabled_at = CASE
                WHEN $4::boolean IS NULL THEN disabled_at WHEN $4 THEN coalesce(disabled_at, $5::timestamptz)
            END
        WHERE client_id = $1
        RETURNING client_id, name, may_read_all_clients, disabled_at, created_at
    """

    async def update_client(
        self,
        client_id: str,
        now: datetime,
        *,
        name: str | None,
        may_read_all_clients: bool | None,
        disabled: bool | None,
    ) -> Client:
        """Change what is not None, and return the client as it now is. Raises ClientNotFound."""
        row = await self._connection.fetchrow(
            self._UPDATE_CLIENT, client_id, name, may_read_all_clients, disabled, now
        )
        return Client(**row) if row else await self._refuse_unknown(client_id)

    _FETCH_CLIENT = """
        SELECT client_id, name, may_read_all_clients, disabled_at, created_at FROM client WHERE client_id = $1
    """

    async def fetch_client(self, client_id: str) -> Client:
        """Return a client. Raises ClientNotFound."""
        row = await self._connection.fetchrow(self._FETCH_CLIENT, client_id)
        return Client(**row) if row else await self._refuse_unknown(client_id)

    _LIST_CLIENTS = """
        SELECT client_id, name, may_read_all_clients, disabled_at, created_at FROM client
        WHERE client_id > $1 ORDER BY client_id LIMIT $2
    """

    async def list_clients(self, after: str, limit: int) -> list[Client]:
        """Return clients by id, from after `after` on."""
        return [Client(**row) for row in await self._connection.fetch(self._LIST_CLIENTS, after, limit)]

    _LIST_ALIKE = "SELECT client_id FROM client WHERE abs(length(client_id) - length($1)) <= 2 LIMIT 100000"

    async def _refuse_unknown(self, client_id: str) -> NoReturn:
        alike = [known for (known,) in await self._connection.fetch(self._LIST_ALIKE, client_id)]
        raise ClientNotFound(client_id, next(iter(get_close_matches(client_id, alike, 1)), None))
