"""This process's view of the signing keys: never asked for per request, never older than a bound."""

import asyncio
from collections.abc import Sequence
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


class KeyRing:
    """Signs and verifies with the keys of the database, read again when they are `REREAD_AFTER` old.

    While the database is away the known keys go on: what is published when follows from their times.
    """

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._keys_in_database = RotateKeys(pool, clock)
        self._clock = clock
        self._keys: Sequence[SigningKey] = ()
        self._private: dict[str, EllipticCurvePrivateKey] = {}
        """The keys as objects, by `kid`, so that no request parses one."""
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._reading = asyncio.Lock()

    async def signer(self) -> tuple[str, EllipticCurvePrivateKey]:
        """Return the `kid` and the key that sign now. Raises LookupError when no key is known."""
        await self._reread(REREAD_AFTER)
        key = choose_signer(self._keys, self._clock())
        return key.kid, self._private[key.kid]

    async def find_public(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the published key of this name, or None."""
        await self._reread(REREAD_AFTER if kid in self._private else _UNKNOWN_KEY_REREAD)
        is_published = any(key.kid == kid for key in list_published(self._keys, self._clock()))
        return self._private[kid].public_key() if is_published else None

    async def published(self) -> list[dict[str, str]]:
        """Return the JSON Web Keys to publish now. Raises LookupError when no key is known."""
        await self._reread(REREAD_AFTER)
        if not self._keys:
            raise LookupError("no signing key")
        return [
            describe_public_key(key.kid, self._private[key.kid].public_key())
            for key in list_published(self._keys, self._clock())
        ]

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
            # The times are those just read; only the parsing is saved.
            self._private = {key.kid: self._private.get(key.kid) or load_private_key(key) for key in keys}
            self._keys = keys
            self._read_at = self._clock()

    def _is_younger(self, moment: datetime | None, age: timedelta) -> bool:
        # Either way round: a clock that was set back must not make the keys fresh for as long as it was wrong.
        return moment is not None and abs(self._clock() - moment) < age
