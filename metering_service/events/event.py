"""A billable event, and what metering says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Literal
from uuid import UUID

from metering_service.policies.policy import Policy, Rate

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
    """Why an event was granted or denied: the terms, and what stood before at each limit that applies.

    `credits` is what was held or charged. `rates_used` and `taken_before` follow the policy's limits in their order;
    None: none applies, or, of rates, nobody could be asked. `is_late`: charged without a hold, so that no limit was
    asked.
    """

    policy_id: str
    policy_version: int
    policy: Policy
    event_type: str
    units: int
    credits: int
    rates_used: Sequence[int] | None
    taken_before: Sequence[int] | None
    available_before: int | None
    would_refuse: str | None = None
    is_late: bool = False

    @property
    def is_degraded(self) -> bool:
        """Whether a rate applies that was not asked, because Redis was away."""
        return not self.is_late and self.rates_used is None and bool(self.policy.rates_of(self.event_type))

    def as_document(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return {
            "policyId": self.policy_id,
            "policyVersion": self.policy_version,
            "mode": self.policy.mode,
            "wouldRefuse": self.would_refuse,
            "degraded": self.is_degraded,
            "credits": self.credits,
            "gates": None if self.is_late else self._list_gates(),
        }

    def _list_gates(self) -> dict[str, Any]:
        rates: Sequence[Rate] = self.policy.rates_of(self.event_type)
        quotas = self.policy.quotas_of(self.event_type)
        available = self.available_before
        return {
            "rates": [
                {
                    "name": rate.name,
                    "limit": rate.burst,
                    "usedBefore": self.rates_used[n] if self.rates_used else None,
                }
                for n, rate in enumerate(rates)
            ],
            "quotas": [
                _render_quota(quota.name, quota.limit, before, quota.count(self.units, self.credits))
                for quota, before in zip(quotas, self.taken_before or (), strict=bool(self.taken_before))
            ],
            "credits": None if available is None else {"availableBefore": available},
        }


def _render_quota(name: str, limit: int, before: int, amount: int) -> dict[str, Any]:
    """Return what a quota saw. What it takes last counts as what is over the limit, and is given back first."""
    overage = max(0, before + amount - limit) - max(0, before - limit)
    return {"name": name, "limit": limit, "usedBefore": before, "amount": amount, "overage": overage}


@dataclass(slots=True)
class Decision:
    """What was decided about an event; `stale`: nothing was, its policy is another one than the caller knew.

    `hold_id` is the hold that stands for the event, which may be that of an earlier attempt; `held_at` when it was
    made, None of an event that is charged already. `retry_after_seconds` is None where waiting alone does not help.
    Of one that was denied `held_at` is when. `quota_resets` is when the periods of the receipt's quotas end.
    """

    hold_id: str
    decision: Literal["granted", "denied", "conflict", "error", "stale"]
    code: str | None = None
    retry_after_seconds: int | None = None
    held_at: datetime | None = None
    receipt: Receipt | None = None
    quota_resets: Sequence[datetime] | None = None

    def list_limits(self) -> list[dict[str, Any]]:
        """Return, as JSON values, what is left of each limit after a decision that was made now, else nothing."""
        receipt = self.receipt
        if receipt is None or self.held_at is None or receipt.is_degraded:
            return []
        if self.quota_resets is None and receipt.taken_before is not None:
            return []  # decided before
        is_granted = self.decision == "granted"
        limits = []
        for rate, used in zip(receipt.policy.rates_of(receipt.event_type), receipt.rates_used or (), strict=False):
            taken = used + is_granted
            seconds = -(-taken * rate.period_seconds // rate.limit)
            limits.append(_render_limit(rate.name, rate.burst, taken, seconds))
        for quota, before, end in zip(
            receipt.policy.quotas_of(receipt.event_type),
            receipt.taken_before or (),
            self.quota_resets or (),
            strict=False,
        ):
            taken = before + is_granted * quota.count(receipt.units, receipt.credits)
            seconds = ceil((end - self.held_at).total_seconds())
            limits.append(_render_limit(quota.name, quota.limit, taken, seconds))
        return limits


def _render_limit(name: str, limit: int, taken: int, reset_seconds: int) -> dict[str, Any]:
    return {"name": name, "limit": limit, "remaining": max(0, limit - taken), "resetSeconds": reset_seconds}


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
class EventState:
    """Where an event stands: its charge, its live hold, else the last released one, of which there is no receipt.

    `payers` are the grants that paid for a charge: kind, id and credits of each.
    """

    event_id: str
    hold_id: UUID
    state: Literal["held", "settled", "released"]
    held_at: datetime | None
    closed_at: datetime | None
    receipt: Receipt | None
    payers: Sequence[tuple[str, str, int]] = ()


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
