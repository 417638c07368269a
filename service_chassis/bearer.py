"""Access tokens: what they say, and how one is believed (RFC 6750, RFC 8725, RFC 9068)."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import web
from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from service_chassis.clock import Clock

ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the media type of RFC 9068
MAX_TOKEN_CHARACTERS = 4096
CLOCK_LEEWAY_SECONDS = 5
"""How far in the future an `iat` may lie: clocks of two hosts differ. `exp` has no leeway."""
_CACHED_TOKENS = 10_000
_FORBIDDEN_HEADERS = {"jku", "jwk", "x5u", "x5c", "crit", "zip", "b64"}
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

FindKey = Callable[[str], Awaitable[EllipticCurvePublicKey | None]]
"""Answers the public key of a `kid`, or None when there is none."""


class InvalidToken(Exception):
    """The token is missing or not to be believed; the text is for tests and logs, never for the caller."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified token. `user_id` is None for a client token, which acts for the whole client."""

    client_id: str
    user_id: str | None
    scopes: frozenset[str]
    expires_at: int


def read_bearer(request: web.Request) -> str:
    """Answer the bearer credential of the request. Raises InvalidToken when there is none."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        raise InvalidToken("no credential, or several")
    scheme, _, credential = values[0].partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise InvalidToken("not a bearer credential")
    return credential.strip(" ")


class TokenVerifier:
    """Verifies ES256 access tokens of one issuer for one audience, remembering those it has verified.

    The signature costs more than all else in a request, so a verified token is kept, by its digest, in a
    bounded cache; its expiry is looked at every time.
    """

    def __init__(self, *, issuer: str, audience: str, find_key: FindKey, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self._find_key = find_key
        self._clock = clock
        self._verified: LRUCache[bytes, AccessToken] = LRUCache(_CACHED_TOKENS)

    async def verify(self, token: str) -> AccessToken:
        """Answer what `token` says. Raises InvalidToken."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken("too long")
        now = self._clock().timestamp()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is None:
            known = await self._verify_signature(token, now)
            self._verified[digest] = known
        if known.expires_at <= now:
            self._verified.pop(digest, None)
            raise InvalidToken("expired")
        return known

    async def _verify_signature(self, token: str, now: float) -> AccessToken:
        if not _COMPACT.fullmatch(token):
            raise InvalidToken("not a compact JWS")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise InvalidToken("malformed header") from error
        if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() != TOKEN_TYPE:
            raise InvalidToken("wrong algorithm or type")
        if _FORBIDDEN_HEADERS & header.keys() or not isinstance(header.get("kid"), str):
            raise InvalidToken("unwanted header")
        key = await self._find_key(header["kid"])
        if key is None:
            raise InvalidToken("unknown key")
        try:
            # Times are checked below, by our clock and by type: PyJWT takes numeric strings and booleans.
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["iss", "aud", "iat", "exp", "jti", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise InvalidToken("not verified") from error
        return _read_claims(claims, now)


def _read_claims(claims: Mapping[str, Any], now: float) -> AccessToken:
    for name in ("jti", "sub", "client_id"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise InvalidToken(f"{name} is not a string")
    for name in ("iat", "exp"):
        if type(claims.get(name)) is not int:
            raise InvalidToken(f"{name} is not an integer")
    if claims["iat"] > now + CLOCK_LEEWAY_SECONDS:
        raise InvalidToken("issued in the future")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise InvalidToken("scope is not a string")
    return AccessToken(
        client_id=claims["client_id"],
        user_id=claims["sub"] if claims["sub"] != claims["client_id"] else None,
        scopes=frozenset(scope.split()),
        expires_at=claims["exp"],
    )
