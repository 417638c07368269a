"""Another service's public keys, fetched without blocking and kept while it is away (RFC 7517)."""

import asyncio
import time
from contextlib import suppress
from http import HTTPStatus

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from service_chassis.errors import InvalidRequest, KeysUnavailable
from service_chassis.http.json_body import parse_json
from service_chassis.http.outgoing import describe_fault, show_address
from service_chassis.operations.logging import log_fault

REFRESH_AFTER_SECONDS = 300.0
"""How old the keys may be before they are fetched again."""
UNKNOWN_KEY_REFETCH_SECONDS = 60.0
"""An unknown `kid` triggers a fetch at most this often, so that made-up ones cannot make us flood the issuer."""
FAILED_FETCH_RETRY_SECONDS = 1.0
FETCH_TIMEOUT_SECONDS = 2.0
MAX_DOCUMENT_BYTES = 64 * 1024


class _NoKeys(ValueError):
    """What the issuer answers is no set of keys; the text goes on after its address."""


class RemoteKeys:
    """Finds the keys that an issuer publishes. Known keys serve on while the issuer is down.

    One fetch is under way at a time. A refresh is waited for once; while refreshing fails, it happens beside the
    requests, which are answered with the keys that are known.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the key named `kid`, or None when the issuer does not publish it.

        Raises KeysUnavailable while no key was ever had: then nothing can be said of any token.
        """
        now = time.monotonic()
        if kid not in self._keys:
            # Whoever makes names up can wait for a fetch; known keys are answered beside it.
            if self._may_fetch(now, UNKNOWN_KEY_REFETCH_SECONDS if self._keys else FAILED_FETCH_RETRY_SECONDS):
                self._begin_fetch(now)
            await self._fetch_under_way()
        elif now - self._fetched_at > REFRESH_AFTER_SECONDS and self._may_fetch(now, FAILED_FETCH_RETRY_SECONDS):
            has_failed = self._tried_at > self._fetched_at
            self._begin_fetch(now)
            if not has_failed:
                await self._fetch_under_way()
        if not self._keys:
            raise KeysUnavailable
        return self._keys.get(kid)

    async def check(self) -> None:
        """Raise KeysUnavailable unless at least one key is known; fetches when none is."""
        if not self._keys:
            await self.find("")

    def _may_fetch(self, now: float, pause_seconds: float) -> bool:
        is_fetching = self._fetching is not None and not self._fetching.done()
        return not is_fetching and now - self._tried_at >= pause_seconds

    def _begin_fetch(self, now: float) -> None:
        self._tried_at = now
        self._fetching = asyncio.create_task(self._read(now))

    async def _fetch_under_way(self) -> None:
        """Wait for the last fetch, if there is one, to be done; it goes on when its waiter is cancelled."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    async def _read(self, now: float) -> None:
        try:
            timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
            async with self._session.get(self._url, timeout=timeout, allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    raise _NoKeys(f"its status is {response.status}")
                raw = await _read_limited(response)
            keys = _find_usable(raw)
        except Exception as error:  # whatever it is, the known keys are still good
            found = str(error) if isinstance(error, _NoKeys) else describe_fault(error)
            log_fault("jwks_fetch_failed", error, jwks_url=show_address(self._url), found=found)
            return
        self._keys = keys
        self._fetched_at = now


async def _read_limited(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for piece in response.content.iter_any():
        raw += piece
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise _NoKeys("its answer is too large for a set of keys")
    return bytes(raw)


def _find_usable(raw: bytes) -> dict[str, EllipticCurvePublicKey]:
    """Return keys by `kid`. Others, which an issuer may publish beside them, are passed over (RFC 7517, section 5).

    Raises _NoKeys where there is none.
    """
    keys: dict[str, EllipticCurvePublicKey] = {}
    with suppress(InvalidRequest, LookupError, TypeError):  # in whatever way it is no set of keys
        for entry in parse_json(raw)["keys"]:
            with suppress(Exception):  # in whatever way it is no key of the one kind
                keys[entry["kid"]] = _public_key(entry)
    if not keys:
        raise _NoKeys("its answer holds no key that can be used")
    return keys


def _public_key(entry: dict[str, str]) -> EllipticCurvePublicKey:
    key = jwt.PyJWK(entry, algorithm="ES256").key
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise TypeError("not a public key of the one curve")
    return key
