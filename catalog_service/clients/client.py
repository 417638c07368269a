"""A client: who it is, and the secrets it proves that with."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service_chassis.errors import InvalidRequest

CLIENT_ID_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids stand in URLs, log lines and key names of other services, so they hold nothing that means something there."""
WRONG_CLIENT_ID = "Must be 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit."
SECRET_ID_FORM = re.compile(r"[0-9a-f]{16}")
WRONG_SECRET_ID = "Must be 16 hexadecimal digits."  # noqa: S105 - words
MAX_NAME_CHARACTERS = 200
WRONG_NAME = f"Must be 1 to {MAX_NAME_CHARACTERS} printable characters."
_SECRET_BYTES = 32
MIN_GIVEN_SECRET_CHARACTERS = 16
"""A secret that somebody chose, for a demo, is at least not a short word."""
MAX_SECRET_CHARACTERS = 255
MAX_LIVE_SECRETS = 10
"""How many secrets of one client are good at once: one for each of its installations, some of them in rotation."""
_USE_NOTED_AFTER = timedelta(hours=1)
"""How old the note of a secret's last use gets before a further use is noted, too."""
DEFAULT_OVERLAP_SECONDS = 24 * 60 * 60
"""How long a secret stays good after it was rotated, unless said: time to bring the new one everywhere."""
MAX_OVERLAP_SECONDS = 365 * 24 * 60 * 60
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
class ClientSecret:
    """One of a client's secrets, by its hash. `expires_at` is None while it is not told to end.

    `last_used_at` is to the hour, None before its first use.
    """

    secret_id: str
    sha256: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    @classmethod
    def of(cls, secret: str, now: datetime, expires_at: datetime | None = None) -> "ClientSecret":
        """Make what is kept of `secret`, under a new id."""
        return cls(secrets.token_hex(8), hash_secret(secret), now, expires_at)

    def is_use_to_be_noted(self, now: datetime) -> bool:
        """Return whether the note of its last use is too old."""
        return self.last_used_at is None or now - self.last_used_at >= _USE_NOTED_AFTER


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A secret as its client gets it, this once: `client_secret` is kept nowhere."""

    client_id: str
    secret_id: str
    client_secret: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a presented secret is compared with; of an unknown client, the same with nothing in it."""

    known: bool
    disabled: bool
    may_read_all_clients: bool
    secrets: Sequence[ClientSecret]

    def accept(self, secret: str) -> ClientSecret | None:
        """Return which secret of this client `secret` is, None unless it opens it.

        The work is the same whatever the answer and its reason.
        """
        presented = hash_secret(secret)
        held: list[ClientSecret | None] = [*self.secrets, *[None] * MAX_LIVE_SECRETS][:MAX_LIVE_SECRETS]
        matches = [each for each in held if hmac.compare_digest(presented, each.sha256 if each else _NO_SECRET)]
        return matches[0] if matches and self.known and not self.disabled else None


def make_secret() -> str:
    """Make a client secret of 256 random bits."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return the 32 bytes that are stored in place of `secret`."""
    return hashlib.sha256(secret.encode()).digest()


def check_client_id(client_id: str) -> None:
    """Raise InvalidRequest for what can be no client's id."""
    if not CLIENT_ID_FORM.fullmatch(client_id):
        raise InvalidRequest.field("client_id", WRONG_CLIENT_ID)


def check_name(name: str) -> None:
    """Raise InvalidRequest for what can be no client's name."""
    if not name.isprintable() or not 1 <= len(name.strip()) <= MAX_NAME_CHARACTERS:
        raise InvalidRequest.field("name", WRONG_NAME)


def check_given_secret(secret: str) -> None:
    """Raise InvalidRequest for a secret that will not do."""
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise InvalidRequest.field("secret", "Must hold printable ASCII characters without spaces.")
    if not MIN_GIVEN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise InvalidRequest.field(
            "secret",
            f"Must have {MIN_GIVEN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} characters; leave it out and a "
            "random one is made.",
        )


@dataclass(frozen=True, slots=True)
class ClientState:
    """What may change about a client while its tokens live."""

    client_id: str
    plans_version: int
    disabled: bool
