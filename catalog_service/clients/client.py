"""A client: who it is, and the secrets it proves that with."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service_chassis.errors import OperatorError

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids stand in URLs, log lines and key names of other services, so they hold nothing that means something there."""
MAX_NAME_CHARACTERS = 200
_SECRET_BYTES = 32
MIN_GIVEN_SECRET_CHARACTERS = 16
"""A secret that somebody chose, for a demo, is at least not a short word."""
MAX_SECRET_CHARACTERS = 255
_LIVE_SECRETS = 2
"""How many secrets of one client are good at once: the present one, and the one before it during a rotation."""
_NO_SECRET = bytes(32)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client. `disabled_at` is None while it may use the API."""

    client_id: str
    name: str
    may_read_all_clients: bool
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a presented secret is held against; of an unknown client, the same with nothing in it."""

    known: bool
    disabled: bool
    may_read_all_clients: bool
    secret_hashes: Sequence[bytes]

    def accept(self, secret: str) -> bool:
        """Return whether `secret` opens this client, with the same work whatever the answer and its reason."""
        presented = hash_secret(secret)
        held = [*self.secret_hashes, *[_NO_SECRET] * _LIVE_SECRETS][:_LIVE_SECRETS]
        matches = [hmac.compare_digest(presented, one) for one in held]
        return any(matches) and self.known and not self.disabled


def make_secret() -> str:
    """Make a client secret of 256 random bits."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return the 32 bytes that are stored in place of `secret`."""
    return hashlib.sha256(secret.encode()).digest()


def check_registration(client_id: str, name: str, secret: str | None) -> None:
    """Raise OperatorError unless a client can be registered like this."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise OperatorError("a client id is 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    if not name.isprintable() or not 1 <= len(name.strip()) <= MAX_NAME_CHARACTERS:
        raise OperatorError(f"a client's name is 1 to {MAX_NAME_CHARACTERS} printable characters")
    if secret is None:
        return
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise OperatorError("a secret holds printable ASCII characters without spaces")
    if not MIN_GIVEN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise OperatorError(
            f"a secret has {MIN_GIVEN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} characters; "
            "leave it out and a random one is made"
        )


@dataclass(frozen=True, slots=True)
class ClientState:
    """What may change about a client while its tokens live."""

    client_id: str
    plans_version: int
    disabled: bool
