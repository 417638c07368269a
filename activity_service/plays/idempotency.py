"""Idempotency keys: one key of one caller is one play, one body and one response, for as long as the play lives.

There is no table of keys. A play's id is made from its key, the play keeps a fingerprint of the body, and the first
response follows from columns that no change touches.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from uuid_utils import UUID as FastUUID
from uuid_utils import uuid5

from activity_service.plays.plan_play import Caller
from service_chassis.errors import InvalidRequest

HEADER = "Idempotency-Key"
_NAMESPACE = FastUUID("5f1c1d0e-7a0b-5c55-9a5e-3c1b8f0d7f42")
"""Keeps the ids derived here apart from UUIDv5s that others derive from the same names. Never to be changed."""


@dataclass(slots=True)
class IdempotentRequest:
    """A create with a key. The scope is the caller: its client, and its user or '' for a client token.

    `play_id` is what the play has in every attempt, so that a retry is the same fact; `fingerprint` the SHA-256 of
    what the request says.
    """

    play_id: str
    fingerprint: bytes

    def require_same_body(self, fingerprint: bytes | None) -> None:
        """Raise InvalidRequest naming the header unless the play made with this key was asked for in the same words.

        `fingerprint` is the play's, None where its user's data was erased.
        """
        if fingerprint is None:
            raise InvalidRequest.field(HEADER, "Was used before, and its answer is no longer kept.")
        if fingerprint != self.fingerprint:
            raise self.say_other_body()

    def say_other_body(self) -> InvalidRequest:
        """Make the refusal of a key that was used before to say something else."""
        return InvalidRequest.field(HEADER, "Was used before with another body.")


def identify(caller: Caller, key: str, body: Mapping[str, object]) -> IdempotentRequest:
    """Make the identity of a create with a key. `body` is the parsed body without what was null."""
    scope = orjson.dumps((caller.client_id, caller.user_id or "", key)).decode()
    fingerprint = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
    return IdempotentRequest(str(uuid5(_NAMESPACE, scope)), fingerprint)
