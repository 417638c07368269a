"""Idempotency keys: one key of one caller is one play, one body and one response, for as long as the play lives."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import orjson
from uuid_utils.compat import uuid5

from activity_service.plays.caller import Caller
from service_chassis.errors import InvalidRequest

HEADER = "Idempotency-Key"
_NAMESPACE = UUID("5f1c1d0e-7a0b-5c55-9a5e-3c1b8f0d7f42")
"""Keeps the ids derived here apart from UUIDv5s that others derive from the same names. Never to be changed."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A create with a key. The scope is the caller: its client, and its user or '' for a client token."""

    client_id: str
    user_id: str
    key: str
    fingerprint: bytes

    @property
    def scope(self) -> tuple[str, str, str]:
        """What no two plays share."""
        return (self.client_id, self.user_id, self.key)

    def say_other_body(self) -> InvalidRequest:
        """Make the refusal of a key that was used before to say something else."""
        return InvalidRequest.field(HEADER, "Was used before with another body.")

    def say_forgotten(self) -> InvalidRequest:
        """Make the refusal of a key whose play is there and whose response is not: its user's data was erased."""
        return InvalidRequest.field(HEADER, "Was used before, and its answer is no longer kept.")

    def derive_play_id(self) -> UUID:
        """Return the id that the play has in every attempt, so that a retry is the same fact."""
        return uuid5(_NAMESPACE, orjson.dumps(self.scope).decode())


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The body of the response to the first request with a key, and the fingerprint of what that request said."""

    fingerprint: bytes
    body: bytes

    def require_same_body(self, request: IdempotentRequest) -> None:
        """Raise InvalidRequest naming the header when `request` says something else than the first one did."""
        if self.fingerprint != request.fingerprint:
            raise request.say_other_body()


def identify(caller: Caller, key: str, body: Mapping[str, object]) -> IdempotentRequest:
    """Make the identity of a create with a key. `body` is the parsed body without what was null."""
    fingerprint = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
    return IdempotentRequest(caller.client_id, caller.user_id or "", key, fingerprint)
