"""Billable events: what metering is asked about before a fact, and told after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from uuid_utils import uuid7

from metering_client.errors import EventInvalid
from metering_client.limits import Limit
from service_chassis.http.request_context import Origin, find_origin

MAX_TEXT_CHARACTERS = 255
MAX_UNITS = 1_000_000
"""Metering takes no longer ids, and no more units of one event. What is outside it could never be charged."""


@dataclass(slots=True)
class BillableEvent:
    """One attempt (`hold_id`, a UUID as text, new each time) to bill one fact (`event_id`, the same for ever).

    `happened_at` is the moment of the fact, for an event that is told whole. `origin` is the request that made the
    attempt, for logs and traces alone. Its own request puts in the hold that was granted, the units and the moment,
    and nobody else changes it. Not frozen: making a frozen one takes three times as long.
    """

    hold_id: str
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None = None
    units: int = 1
    happened_at: datetime | None = None
    origin: Origin | None = field(default=None, compare=False)


@dataclass(slots=True)
class Grant:
    """Metering's word that an event may happen: the hold to go on with, which may be that of an earlier attempt.

    `held_at` is when it was made, ISO 8601 by metering's database; None of a `settled` one: the event was charged
    before, and nothing more is to be paid. `limits` are what is left of each, where it was decided just now.
    """

    hold_id: str
    held_at: str | None
    limits: Sequence[Limit] = ()

    @property
    def is_settled(self) -> bool:
        """Return whether the event was charged before."""
        return self.held_at is None

    @property
    def attempted_milliseconds(self) -> int:
        """The hold id's own time, that of the attempt's beginning, in milliseconds since 1970 (UUIDv7, RFC 9562)."""
        return int(self.hold_id[:8] + self.hold_id[9:13], 16)


class Outcome(Enum):
    """What stands in the fence (commit record) of a hold: whoever wrote first decided, everybody else gives way."""

    HAPPENED = "happened"
    """The fact is committed, and metering has not acknowledged it yet."""
    ABANDONED = "abandoned"
    """The hold was given up: it must not be used any more."""
    CHARGED = "charged"
    """No row, and the fact is there: it was charged, under this hold or another."""


class Fenced(NamedTuple):
    """What stands of a hold, how many units its fact was, and whose request's; None where there is no row."""

    outcome: Outcome
    units: int | None
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something billable that the caller's rows say happened, and when: `units` of a type, of a user or of none."""

    event_id: str
    client_id: str
    event_type: str
    user_id: str | None
    units: int
    at: datetime


def start_attempt(
    event_type: str, fact_id: object, client_id: str, user_id: str | None, units: int = 1
) -> BillableEvent:
    """Make an attempt to bill the fact of this type that `fact_id` names, with a hold id of its own."""
    event_id = f"{event_type}:{fact_id}"
    return BillableEvent(str(uuid7()), event_id, client_id, event_type, user_id, units, origin=find_origin())


def require_event(event: BillableEvent) -> None:
    """Raise EventInvalid for what metering would not take: it would refuse others of the same call with it."""
    require_units(event.units, 1, EventInvalid)
    for name, text in (("client_id", event.client_id), ("the event id", event.event_id)):
        require_text(name, text)
        if not text.isprintable() or text in (".", ".."):
            raise EventInvalid(f"{name} must hold printable characters, and be neither . nor ..")
    if event.user_id is not None:
        require_text("user_id", event.user_id)


def require_units(units: object, least: int, error: type[ValueError] = ValueError) -> None:
    """Raise `error` unless `units` is an integer from `least` on that can be charged."""
    if type(units) is not int or not least <= units <= MAX_UNITS:
        raise error(f"units must be an integer from {least} to {MAX_UNITS:,}")


def require_text(name: str, text: object) -> None:
    """Raise EventInvalid unless `text` is one that JSON and PostgreSQL can hold, and metering takes."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        raise EventInvalid(f"{name} must be a string of 1 to {MAX_TEXT_CHARACTERS} characters")
    if "\x00" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise EventInvalid(f"{name} must not hold NUL characters or lone surrogates")
