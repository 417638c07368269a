"""A billable event, and what becomes of it when it is settled or released."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

MAX_BATCH_EVENTS = 500
"""Events in one call, and in one statement."""

RATE_LIMITED = "api_rate_limited"
QUOTA_EXCEEDED = "api_quota_exceeded"
BALANCE_EXHAUSTED = "api_balance_exhausted"
NOT_SOLD = "event_type_not_sold"
NOT_DECIDED = "not_decided"
TOO_LATE = "too_late"

SENTENCES = {
    RATE_LIMITED: "Request rate exceeded",
    QUOTA_EXCEEDED: "Quota exceeded for this period",
    BALANCE_EXHAUSTED: "Prepaid credits exhausted",
    NOT_SOLD: "The client's policy has no price for this event type",
    "hold_released": "This hold was released; a new attempt needs a new holdId",
    "hold_of_another_event": "This holdId was used for another event",
    "event_with_other_content": "This eventId was used with other content",
    "event_of_another_service": "This event is another service's, by the name of its key",
    NOT_DECIDED: "Not possible at the moment, and nothing was changed; ask again",
    TOO_LATE: "The caller's time was over; nothing was changed",
}
"""What a code means, for people."""


@dataclass(slots=True)
class BillableEvent:
    """One attempt (`hold_id`, a UUID as lower-case text) to bill one fact (`event_id`) of a client.

    `resolve_within_seconds` is when its caller will have settled or released it at the latest.
    Nobody changes it once its call is read. Not frozen, nor is Decision: making one takes three times as long.
    """

    hold_id: str
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None = None
    units: int = 1
    resolve_within_seconds: int = 60


@dataclass(slots=True)
class SettledEvent:
    """A fact to be charged: its ids, and how many units it was, None for as many as were held.

    Told whole, with its type and when it happened, it is charged also where metering knows nothing of it.
    """

    hold_id: str
    event_id: str
    client_id: str
    units: int | None = None
    event_type: str | None = None
    user_id: str | None = None
    happened_at: datetime | None = None


@dataclass(slots=True)
class ReleasedEvent:
    """A hold to be given back, with the event that it is for."""

    hold_id: str
    event_id: str
    client_id: str


@dataclass(slots=True)
class Settlement:
    """The outcome of settling an event: all but `settled` charge nothing. `stale`: as of a decision.

    `is_first`: this very call charged it, not one before.
    """

    hold_id: str
    state: Literal["settled", "unknown", "conflict", "error", "stale"]
    code: str | None = None
    credits: int | None = None
    late: bool | None = None
    is_first: bool = False


@dataclass(slots=True)
class Release:
    """The state of a hold after a release."""

    state: Literal["released", "settled", "conflict", "error"]
    code: str | None = None


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event that its caller has neither settled nor released. Of an erased user nothing is told."""

    hold_id: UUID
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None
    units: int
    held_at: datetime


def find_repeated(events: Sequence[BillableEvent]) -> list[bool]:
    """Return for each event whether its client's event id or hold id came before in the sequence."""
    seen: set[tuple[str, str]] = set()
    repeated = []
    for event in events:
        ids = {(event.client_id, event.event_id), (event.client_id, event.hold_id)}
        repeated.append(not seen.isdisjoint(ids))
        seen |= ids
    return repeated
