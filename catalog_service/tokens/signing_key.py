"""The keys that sign access tokens: which one signs, and which are published, at a given moment.

Both follow from the keys' times alone, so every process agrees without talking to the others. A rotation is a new key
that is published at once and signs only when everybody has it; the old one stays published until its last
token has run out. Nobody who keeps the keys for up to `JWKS_MAX_AGE` ever meets a token that it cannot verify.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from service_chassis.auth.bearer import ALGORITHM, CLOCK_LEEWAY_SECONDS
from service_chassis.auth.jwks import REFRESH_AFTER_SECONDS

JWKS_MAX_AGE = timedelta(seconds=REFRESH_AFTER_SECONDS)
"""How long others may keep the published keys, and do (service_chassis.auth.jwks)."""
REREAD_AFTER = timedelta(seconds=30)
"""How old a process's own view of the keys may get; so long, one may still publish the keys of before a rotation."""
_LEEWAY = timedelta(seconds=CLOCK_LEEWAY_SECONDS)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair by its times. `published_until` is None while no younger key has taken over."""

    kid: str
    private_pem: str
    created_at: datetime
    signs_from: datetime
    published_until: datetime | None

    def is_published(self, now: datetime) -> bool:
        """Return whether tokens of this key are to be believed at `now`."""
        return self.published_until is None or now < self.published_until


def make_key(now: datetime, *, signs_from: datetime) -> SigningKey:
    """Make a key that is published from `now` on."""
    private_pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(secrets.token_hex(8), private_pem.decode(), now, signs_from, None)


def plan_rotation(now: datetime, token_lifetime: timedelta) -> tuple[SigningKey, datetime]:
    """Return the next key, and the moment until which the present ones must stay published."""
    signs_from = now + JWKS_MAX_AGE + REREAD_AFTER + _LEEWAY
    return make_key(now, signs_from=signs_from), signs_from + token_lifetime + REREAD_AFTER + _LEEWAY


def list_published(keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys whose tokens are to be believed at `now`."""
    return [key for key in keys if key.is_published(now)]


def choose_signer(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the key that signs at `now`: the last one whose time has come. Raises LookupError without keys.

    When none's has, because this clock is behind that of the process that made the first key, it is that one.
    """
    published = sorted(list_published(keys, now), key=lambda key: key.signs_from)
    if not published:
        raise LookupError("no signing key")
    return next((key for key in reversed(published) if key.signs_from <= now), published[0])


def describe_state(key: SigningKey, keys: Sequence[SigningKey], now: datetime) -> str:
    """Say in a word what `key`, one of `keys`, is for at `now`: signs, next, verifies or retired."""
    if not key.is_published(now):
        return "retired"
    if key.kid == choose_signer(keys, now).kid:
        return "signs"
    return "next" if key.signs_from > now else "verifies"


def load_private_key(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    """Return the key object that signs."""
    loaded = serialization.load_pem_private_key(key.private_pem.encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return loaded


def sign(claims: dict[str, object], kid: str, private_key: ec.EllipticCurvePrivateKey, token_type: str) -> str:
    """Return `claims` as a signed token that names its key."""
    return jwt.encode(claims, private_key, algorithm=ALGORITHM, headers={"typ": token_type, "kid": kid})


def describe_public_key(kid: str, public_key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the JSON Web Key that others verify with."""
    return {**ECAlgorithm.to_jwk(public_key, as_dict=True), "kid": kid, "use": "sig", "alg": ALGORITHM}
