"""Find out whether a client is who it says, and how often it may be wrong before it is told to slow down."""

import hashlib
import math
from dataclasses import dataclass

import asyncpg
from cachetools import LRUCache

from catalog_service.clients.client import ClientSecret, Credentials
from catalog_service.clients.store import ClientStore
from catalog_service.errors import InvalidCredentials, TooManyAttempts
from service_chassis.clock import Clock
from service_chassis.operations.logging import log_fault

BURST_ATTEMPTS = 100
"""Wrong attempts of one client id from one address that are responded to plainly."""
INTERVAL_SECONDS = 2.0
"""Then one more in so many seconds."""
_REMEMBERED_PAIRS = 10_000
"""Of client and address. The least recently wrong one is forgotten first: 2 MB whatever anybody sends."""


class FailedAttempts:
    """Counts wrong credentials by client id and address, in this process, by the generic cell rate algorithm.

    Only wrong ones are counted and only wrong ones refused: whoever has the right secret gets its token whatever
    others did from the same address, so nobody can lock a client out. That leaves guessing unhindered, which 256
    random bits allow (docs/decisions); the limit tells a misconfigured caller to back off, and an operator that
    somebody is trying.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # When the pair would have used up nothing again, in seconds of the clock.
        self._clear_at: LRUCache[bytes, float] = LRUCache(_REMEMBERED_PAIRS)

    def note(self, client_id: str, address: str) -> int | None:
        """Count one wrong attempt. Return None, or after how many seconds another one will be answered plainly."""
        now = self._clock().timestamp()
        # A digest: ids are the caller's own words, of any length and as many as it likes.
        pair = hashlib.blake2b(f"{address} {client_id}".encode(), digest_size=16).digest()
        clear_at = max(self._clear_at.get(pair, now), now) + INTERVAL_SECONDS
        too_early_seconds = clear_at - now - BURST_ATTEMPTS * INTERVAL_SECONDS
        if too_early_seconds > 0:
            return math.ceil(too_early_seconds)
        self._clear_at[pair] = clear_at
        return None


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
