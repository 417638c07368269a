"""Another service's public keys, fetched without blocking and kept while it is away (RFC 7517)."""

import asyncio
import time

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from service_chassis.error_rendering import log_fault

REFRESH_AFTER_SECONDS = 300.0
"""How old the keys may be before they are fetched again."""
UNKNOWN_KEY_REFETCH_SECONDS = 60.0
"""An unknown `kid` triggers a fetch at most this often, so that made-up ones cannot make us flood the issuer."""
FAILED_FETCH_RETRY_SECONDS = 1.0
FETCH_TIMEOUT_SECONDS = 2.0


class RemoteKeys:
    """Finds the keys that an issuer publishes. Known keys serve on while the issuer is down."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        """Answer the key named `kid`, or None when the issuer does not publish it."""
        age = time.monotonic() - self._fetched_at
        if kid not in self._keys:
            await self._refresh(UNKNOWN_KEY_REFETCH_SECONDS)
        elif age > REFRESH_AFTER_SECONDS:
            await self._refresh(REFRESH_AFTER_SECONDS)
        return self._keys.get(kid)

    async def check(self) -> None:
        """Raise LookupError unless at least one key is known; fetches when none is."""
        if not self._keys:
            await self._refresh(0)
        if not self._keys:
            raise LookupError("no keys")

    async def _refresh(self, max_age_seconds: float) -> None:
        async with self._fetching:
            now = time.monotonic()
            if now - self._fetched_at < max_age_seconds or now - self._tried_at < FAILED_FETCH_RETRY_SECONDS:
                return
            self._tried_at = now
            try:
                timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
                async with self._session.get(self._url, timeout=timeout) as response:
                    response.raise_for_status()
                    document = await response.json()
                keys = {entry["kid"]: _public_key(entry) for entry in document["keys"]}
            except (
                aiohttp.ClientError,
                TimeoutError,
                ValueError,
                KeyError,
                TypeError,
                jwt.PyJWTError,
            ) as error:
                log_fault("jwks_fetch_failed", error)
                return
            self._keys = keys
            self._fetched_at = now


def _public_key(entry: dict[str, str]) -> EllipticCurvePublicKey:
    key = jwt.PyJWK(entry, algorithm="ES256").key
    if not isinstance(key, EllipticCurvePublicKey):
        raise TypeError("not an elliptic curve key")
    return key
