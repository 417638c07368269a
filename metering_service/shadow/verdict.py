"""What a policy would have said of an event, and what was it worth by it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from metering_service.events.decision import Decision
from metering_service.events.event import (
    BALANCE_EXHAUSTED,
    NOT_SOLD,
    QUOTA_EXCEEDED,
    RATE_LIMITED,
    BillableEvent,
)
from metering_service.policies.policy import Policy
from metering_service.rates.limiter import RateOutcome


@dataclass(frozen=True, slots=True)
class ShadowedEvent:
    """An event that was decided, at `at`, and what the rates of its client's shadow policy said of it then.

    `available` were the credits before it, None where nobody asked for them; `is_granted`: it happens.
    """

    event: BillableEvent
    at: datetime
    is_granted: bool
    rate: RateOutcome
    available: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a policy would have refused an event, None where not; the limit's name, '' for none; the price."""

    code: str | None
    limit: str
    credits: int


def judge(policy: Policy, shadowed: ShadowedEvent, used: Sequence[int], available: int) -> Verdict:
    """Return what a policy says of an event; `used` is what counts in each of its quotas that apply.

    Gates in the order of real decisions.
    """
    event = shadowed.event
    credits = policy.price_of(event.event_type, event.units)
    if credits is None:
        return Verdict(NOT_SOLD, "", 0)
    if shadowed.rate.wait_seconds:
        return Verdict(RATE_LIMITED, policy.find_full_rate(event.event_type, shadowed.rate.used_before), credits)
    if full := policy.find_full_quota(event.event_type, event.units, credits, used):
        return Verdict(QUOTA_EXCEEDED, full, credits)
    least = policy.least_available
    if credits and least is not None and available - credits < least:
        return Verdict(BALANCE_EXHAUSTED, "", credits)
    return Verdict(None, "", credits)


def read_own_verdict(event: BillableEvent, decision: Decision) -> Verdict | None:
    """Return what a policy in shadow mode itself would have refused an event for, None where nothing."""
    receipt = decision.receipt
    if receipt is None or receipt.would_refuse is None:
        return None
    price = receipt.policy.price_of(event.event_type, event.units) or 0
    return Verdict(receipt.would_refuse, receipt.find_limit(receipt.would_refuse), price)


@dataclass(frozen=True, slots=True)
class ShadowRefusals:
    """How many events of a client a policy would have refused on a day for one reason, and what they were worth."""

    day: date
    client_id: str
    code: str
    limit: str
    refused: int
    credits: int

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON values, for callers and operators alike."""
        return {
            "day": self.day,
            "clientId": self.client_id,
            "code": self.code,
            "limit": self.limit or None,
            "wouldRefuse": self.refused,
            "credits": self.credits,
        }
