"""This process's view of the signing keys: never asked for per request, never older than a bound."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from catalog_service.tokens.rotate_key import RotateKeys
from catalog_service.tokens.signing_key import (
    REREAD_AFTER,
    SigningKey,
    choose_signer,
    describe_public_key,
    list_published,
    load_private_key,
)
from service_chassis.clock import Clock
from service_chassis.operations.logging import log_fault

_UNKNOWN_KEY_REREAD = timedelta(seconds=5)
"""A `kid` we do not know, which anybody can make up, has the keys read again at most this often."""
_RETRY_AFTER = timedelta(seconds=1)
"""After a read that failed."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A key with its halves as objects, so that no request parses one."""

    key: SigningKey
    private: EllipticCurvePrivateKey

    @property
    def public(self) -> EllipticCurvePublicKey:
        return self.private.public_key()


class KeyRing:
    """Signs and verifies with the keys of the database, read again when they are `REREAD_AFTER` old.

    While the database is away the known keys go on: what is published when follows from their times.
    """

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._keys_in_database = RotateKeys(pool, clock)
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._reading = asyncio.Lock()

    async def signer(self) -> tuple[str, EllipticCurvePrivateKey]:
        """Return the `kid` and the key that sign now. Raises LookupError when no key is known."""
        await self._reread(REREAD_AFTER)
        key = choose_signer(self._keys(), self._clock())
        return key.kid, self._held[key.kid].private

    async def find_public(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the published key of this name, or None."""
        await self._reread(REREAD_AFTER if kid in self._held else _UNKNOWN_KEY_REREAD)
        held = self._held.get(kid)
        return held.public if held is not None and held.key.is_published(self._clock()) else None

    async def published(self) -> list[dict[str, str]]:
        """Return the JSON Web Keys to publish now. Raises LookupError when no key is known."""
        await self._reread(REREAD_AFTER)
        if not self._held:
            raise LookupError("no signing key")
        return [
            describe_public_key(key.kid, self._held[key.kid].public)
            for key in list_published(self._keys(), self._clock())
        ]

    def _keys(self) -> Sequence[SigningKey]:
        return [held.key for held in self._held.values()]

    async def _reread(self, max_age: timedelta) -> None:
        if self._is_younger(self._read_at, max_age):
            return
        async with self._reading:
            if self._is_younger(self._read_at, max_age) or self._is_younger(self._tried_at, _RETRY_AFTER):
                return
            self._tried_at = self._clock()
            try:
                keys = await self._keys_in_database.ensure()
            except Exception as error:  # whatever the database's trouble is, the known keys are still good
                log_fault("signing_keys_not_read", error)
                return
            known = self._held
            self._held = {
                # The times are those just read; only the parsing is saved.
                key.kid: _Held(key, known[key.kid].private if key.kid in known else load_private_key(key))
                for key in keys
            }
            self._read_at = self._clock()

    def _is_younger(self, moment: datetime | None, age: timedelta) -> bool:
        # Either way round: a clock that was set back must not make the keys fresh for as long as it was wrong.
        return moment is not None and abs(self._clock() - moment) < age
