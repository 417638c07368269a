"""Access tokens: what they say, and how one is believed (RFC 6750, RFC 8725, RFC 9068)."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
from aiohttp import web
from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from service_chassis.auth.service_keys import ServiceKey
from service_chassis.clock import Clock
from service_chassis.errors import InvalidRequest, ServiceError, Unauthorized
from service_chassis.http.json_body import parse_json
from service_chassis.http.request_context import name_in_log
from service_chassis.operations.metrics import Metrics

ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the media type of RFC 9068
MAX_TOKEN_CHARACTERS = 4096
CLOCK_LEEWAY_SECONDS = 5
"""How far in the future an `iat` may lie: clocks of two hosts differ. `exp` has no leeway."""
MAX_LIFETIME_SECONDS = 24 * 60 * 60
"""The longest `exp` - `iat` that is believed, whoever signed it: a stolen token is good for so long at the most."""
KEY_CHECK_SECONDS = 60
"""How long a verified token is believed before its key is looked up again: so long does a withdrawn key live on
in what is remembered."""
MAX_KID_CHARACTERS = 128
_CACHED_TOKENS = 10_000
_FORBIDDEN_HEADERS = {"jku", "jwk", "x5u", "x5c", "crit", "zip", "b64"}
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_REASONS: Mapping[type[Exception], str] = {
    jwt.InvalidSignatureError: "wrong signature",
    jwt.InvalidIssuerError: "wrong issuer",
    jwt.InvalidAudienceError: "wrong audience",
    jwt.MissingRequiredClaimError: "a claim is missing",
}
_log = structlog.get_logger(__name__)

FindKey = Callable[[str], Awaitable[EllipticCurvePublicKey | None]]
"""Returns the public key of a `kid`, or None when there is none."""


class InvalidToken(Exception):
    """The token is missing or not to be believed.

    The text is one of few: the kind of reason, for logs and metrics, never for the caller.
    """


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified token. `user_id` is None for a client token, which acts for the whole client."""

    client_id: str
    user_id: str | None
    scopes: frozenset[str]
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Verified:
    token: AccessToken
    checked_at: float


def read_bearer(request: web.Request) -> str:
    """Return the bearer credential of the request. Raises InvalidToken when there is none."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        raise InvalidToken("no credential, or several")
    scheme, _, credential = values[0].partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise InvalidToken("not a bearer credential")
    return credential.strip(" ")


def find_service_key(request: web.Request, keys: Mapping[bytes, ServiceKey]) -> ServiceKey:
    """Return which of `keys` the request brings. Raises Unauthorized."""
    try:
        credential = read_bearer(request)
    except InvalidToken:
        credential = ""
    key = keys.get(hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest())
    if key is None:
        raise Unauthorized
    name_in_log(caller=key.name)
    return key


class TokenVerifier:
    """Verifies ES256 access tokens of one issuer for one audience, remembering those it has verified.

    The signature costs more than all else in a request, so a verified token is kept, by its digest, in a
    bounded cache; its expiry is looked at every time, its key and signature once a minute.
    """

    def __init__(self, *, issuer: str, audience: str, find_key: FindKey, clock: Clock, metrics: Metrics) -> None:
        self._issuer = issuer
        self._audience = audience
        self._find_key = find_key
        self._clock = clock
        self._verified: LRUCache[bytes, _Verified] = LRUCache(_CACHED_TOKENS)
        self._refused = metrics.counter("access_tokens_refused", "Requests without a token to believe.", ["reason"])

    async def verify_request(self, request: web.Request, refusal: type[ServiceError]) -> AccessToken:
        """Return what the token of `request` says, whose client the log then names.

        Raises `refusal`, the same for every fault of a token, which is counted and logged by its kind of reason.
        """
        try:
            token = await self.verify(read_bearer(request))
        except InvalidToken as error:
            self._refused.labels(str(error)).inc()
            _log.info("access_token_refused", reason=str(error))
            raise refusal from None
        name_in_log(client_id=token.client_id)
        return token

    async def verify(self, token: str) -> AccessToken:
        """Return what `token` says. Raises InvalidToken."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken("too long")
        now = self._clock().timestamp()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is None or abs(now - known.checked_at) > KEY_CHECK_SECONDS:
            known = await self._verify_signature(token, now)
            self._verified[digest] = known
        if known.token.expires_at <= now:
            self._verified.pop(digest, None)
            raise InvalidToken("expired")
        return known.token

    async def _verify_signature(self, token: str, now: float) -> _Verified:
        if not _COMPACT.fullmatch(token):
            raise InvalidToken("not a compact JWS")
        header, claims, _ = map(_decode, token.split("."))
        kid = _read_kid(_parse(header))
        # PyJWT takes the last of two equal names, as other readers take the first: we take neither.
        _parse(claims)
        key = await self._find_key(kid)
        if key is None:
            raise InvalidToken("unknown key")
        return _Verified(_read_claims(self._decode_signed(token, key), now), now)

    def _decode_signed(self, token: str, key: EllipticCurvePublicKey) -> Mapping[str, Any]:
        try:
            # Times are checked below, by our clock and by type: PyJWT takes numeric strings and booleans.
            claims: dict[str, Any] = jwt.decode(
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
            raise InvalidToken(_REASONS.get(type(error), "not verified")) from error
        return claims


def _decode(segment: str) -> bytes:
    """Decode base64url without padding, in its one form: the bits that no byte needs are zero (RFC 4648, 3.5)."""
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise InvalidToken("not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise InvalidToken("not base64url in its one form")
    return raw


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        document = parse_json(raw)
    except InvalidRequest as error:
        raise InvalidToken("not strict JSON") from error
    if not isinstance(document, dict):
        raise InvalidToken("not a JSON object")
    return document


def _read_kid(header: Mapping[str, Any]) -> str:
    """Return the name of the key. Raises InvalidToken for a header that is not just what ours are."""
    kind, kid = header.get("typ"), header.get("kid")
    if header.get("alg") != ALGORITHM or not isinstance(kind, str) or kind.lower() != TOKEN_TYPE:
        raise InvalidToken("wrong algorithm or type")
    if _FORBIDDEN_HEADERS & header.keys() or not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARACTERS:
        raise InvalidToken("unwanted header")
    return kid


def _read_claims(claims: Mapping[str, Any], now: float) -> AccessToken:
    for name in ("jti", "sub", "client_id"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise InvalidToken(f"{name} is not a string")
    for name in ("iat", "exp"):
        if type(claims.get(name)) is not int:
            raise InvalidToken(f"{name} is not an integer")
    not_before = claims.get("nbf", claims["iat"])
    if type(not_before) is not int:
        raise InvalidToken("nbf is not an integer")
    if max(claims["iat"], not_before) > now + CLOCK_LEEWAY_SECONDS:
        raise InvalidToken("from the future")
    if not 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME_SECONDS:
        raise InvalidToken("lives for too long")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise InvalidToken("scope is not a string")
    return AccessToken(
        client_id=claims["client_id"],
        user_id=claims["sub"] if claims["sub"] != claims["client_id"] else None,
        scopes=frozenset(scope.split()),
        expires_at=claims["exp"],
    )
