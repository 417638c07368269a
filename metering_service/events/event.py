"""A billable event, and what metering says of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from metering_service.policies.policy import Period

MAX_BATCH_EVENTS = 500
"""Events in one call, and in one statement."""

RATE_LIMITED = "api_rate_limited"
QUOTA_EXCEEDED = "api_quota_exceeded"
BALANCE_EXHAUSTED = "api_balance_exhausted"
EVENT_WITH_OTHER_CONTENT = "event_with_other_content"

SENTENCES = {
    RATE_LIMITED: "Request rate exceeded",
    QUOTA_EXCEEDED: "Quota exceeded for this period",
    BALANCE_EXHAUSTED: "Prepaid credits exhausted",
    "hold_released": "This hold was released; a new attempt needs a new holdId",
    "hold_of_another_event": "This holdId was used for another event",
    EVENT_WITH_OTHER_CONTENT: "This eventId was used with other content",
}
"""What a decision's code means, for people."""


@dataclass(slots=True)
class BillableEvent:
    """One attempt (`hold_id`, a UUID as lower-case text) to bill one fact (`event_id`).

    Nobody changes it. Not frozen, nor is Decision, because making a frozen one takes three times as long.
    """

    hold_id: str
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None = None
    units: int = 1

    def says_the_same_as(self, other: "BillableEvent") -> bool:
        """Return whether both are attempts to bill the same fact, told alike."""
        return replace(self, hold_id=other.hold_id) == other


@dataclass(slots=True)
class Decision:
    """What was decided about an event; `stale`: nothing was, its policy is another one than the caller knew.

    `hold_id` is the live hold of the event, which may be that of an earlier attempt. `quota_period` is that of an
    exceeded quota. `receipt` is JSON text. `retry_after_seconds` is None where waiting alone does not help.
    """

    hold_id: str
    event_id: str
    decision: Literal["granted", "denied", "conflict", "stale"]
    code: str | None
    quota_period: Period | None
    receipt: str | None
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of settling an event. `conflict`: the ids were used with other content, so nothing was charged.

    `is_charged`: this very call charged it, not one before.
    """

    hold_id: str
    event_id: str
    state: Literal["settled", "conflict"]
    credits: int | None
    late: bool | None
    is_charged: bool


@dataclass(frozen=True, slots=True)
class EventState:
    """Where an event stands: its live or settled hold, else the last released one. `receipt` is JSON text."""

    event_id: str
    hold_id: UUID
    state: Literal["held", "settled", "released"]
    receipt: str | None
    held_at: datetime | None
    closed_at: datetime | None
    late: bool


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


def split_repeated(indexes: Sequence[int], events: Sequence[BillableEvent]) -> tuple[list[int], list[int]]:
    """Split `indexes` into those that one statement may see, with no event and no hold twice, and the others.

    Both in order: of each event the first attempt comes first.
    """
    first: list[int] = []
    again: list[int] = []
    event_ids: set[str] = set()
    hold_ids: set[str] = set()
    for index in indexes:
        event = events[index]
        is_again = event.event_id in event_ids or event.hold_id in hold_ids
        (again if is_again else first).append(index)
        event_ids.add(event.event_id)
        hold_ids.add(event.hold_id)
    return first, again
