"""A billable event, and what metering says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

MAX_BATCH_EVENTS = 500
"""Events in one call, and in one statement."""

RATE_LIMITED = "api_rate_limited"
QUOTA_EXCEEDED = "api_quota_exceeded"
BALANCE_EXHAUSTED = "api_balance_exhausted"
NOT_DECIDED = "not_decided"
TOO_LATE = "too_late"

SENTENCES = {
    RATE_LIMITED: "Request rate exceeded",
    QUOTA_EXCEEDED: "Quota exceeded for this period",
    BALANCE_EXHAUSTED: "Prepaid credits exhausted",
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
    Nobody changes it. Not frozen, nor is Decision, because making a frozen one takes three times as long.
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
class Receipt:
    """Why an event was granted: the terms, and what stood before at each limit, None where the policy has none.

    `credits` is what was held or charged. `is_late`: charged without a hold, so that no limit was asked.
    """

    policy_id: str
    policy_version: int
    mode: str
    credits: int
    rate_limit: int | None
    rate_used: int | None
    quota_limit: int | None
    taken_before: int | None
    available_before: int | None
    would_refuse: str | None = None
    is_late: bool = False

    def as_document(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        gates = None
        if not self.is_late:
            gates = {
                "rate": None if self.rate_limit is None else {"limit": self.rate_limit, "usedBefore": self.rate_used},
                "quota": None
                if self.quota_limit is None
                else {"limit": self.quota_limit, "usedBefore": self.taken_before},
                "credits": None if self.available_before is None else {"availableBefore": self.available_before},
            }
        return {
            "policyId": self.policy_id,
            "policyVersion": self.policy_version,
            "mode": self.mode,
            "wouldRefuse": self.would_refuse,
            "credits": self.credits,
            "gates": gates,
        }


@dataclass(slots=True)
class Decision:
    """What was decided about an event; `stale`: nothing was, its policy is another one than the caller knew.

    `hold_id` is the hold that stands for the event, which may be that of an earlier attempt; `held_at` when it was
    made, None of an event that is charged already. `retry_after_seconds` is None where waiting alone does not help.
    """

    hold_id: str
    decision: Literal["granted", "denied", "conflict", "error", "stale"]
    code: str | None = None
    retry_after_seconds: int | None = None
    held_at: datetime | None = None
    receipt: Receipt | None = None


@dataclass(slots=True)
class Settlement:
    """The outcome of settling an event: `conflict`, `unknown` and `error` charge nothing.

    `is_first`: this very call charged it, not one before.
    """

    hold_id: str
    state: Literal["settled", "unknown", "conflict", "error"]
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
class EventState:
    """Where an event stands: its charge, its live hold, else the last released one, of which there is no receipt."""

    event_id: str
    hold_id: UUID
    state: Literal["held", "settled", "released"]
    held_at: datetime | None
    closed_at: datetime | None
    receipt: Receipt | None


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
