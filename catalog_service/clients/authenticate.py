"""Find out whether a client is who it says."""

from dataclasses import dataclass

import asyncpg

from catalog_service.clients.client import ClientSecret, Credentials
from catalog_service.clients.failed_attempts import FailedAttempts
from catalog_service.clients.store import ClientStore
from catalog_service.errors import InvalidCredentials, TooManyAttempts
from service_chassis.clock import Clock
from service_chassis.operations.logging import log_fault


@dataclass(frozen=True, slots=True)
class AuthenticateClients:
    """Holds presented secrets against those that are kept, for every call that takes one."""

    pool: asyncpg.Pool
    failed_attempts: FailedAttempts
    clock: Clock

    async def authenticate(self, client_id: str, secret: str, *, address: str) -> tuple[Credentials, ClientSecret]:
        """Return what the client may do, and which of its secrets was presented from `address`.

        Raises InvalidCredentials, after the same work, for an unknown client, a wrong secret and a disabled client;
        and instead of it TooManyAttempts when this happens too often.
        """
        now = self.clock()
        async with self.pool.acquire() as connection:
            store = ClientStore(connection)
            credentials = await store.fetch_credentials(client_id, now)
            found = credentials.accept(secret)
            if found is not None and found.is_use_to_be_noted(now):
                try:
                    await store.note_use(client_id, found, now)
                except asyncpg.PostgresError as error:  # a standby takes no notes, and none is worth a token
                    log_fault("secret_use_not_noted", error)
        if found is None:
            wait_seconds = self.failed_attempts.note(client_id, address)
            if wait_seconds is not None:
                raise TooManyAttempts(headers={"Retry-After": str(wait_seconds)})
            raise InvalidCredentials
        return credentials, found
