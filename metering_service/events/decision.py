"""What is decided about an event, and the receipt of it: why, and what stood at each limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from metering_service.events.event import QUOTA_EXCEEDED, RATE_LIMITED
from metering_service.policies.policy import Policy

_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Receipt:
    """Why an event was granted or denied: the terms, and what stood before at each limit that applies.

    `credits` is what was held or charged. `rates_used` and `taken_before` follow the policy's limits in their order;
    None: none applies, or, of rates, nobody could be asked. `is_late`: charged without a hold, so that no limit was
    asked. `is_forgotten`: so old that what stood at the limits is not known any more. `is_denied`: nothing was held.
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
    is_forgotten: bool = False
    is_denied: bool = False

    @property
    def is_degraded(self) -> bool:
        """Whether a rate applies that was not asked, because Redis was away."""
        if self.rates_used is not None or self.is_late or self.is_forgotten:
            return False
        return bool(self.policy.rates_of(self.event_type))

    def find_limit(self, code: str) -> str:
        """Return the name of the first limit that the event would have gone beyond, '' for none."""
        if code == RATE_LIMITED:
            return self.policy.find_full_rate(self.event_type, self.rates_used)
        if code == QUOTA_EXCEEDED:
            credits = self.policy.price_of(self.event_type, self.units) or 0
            return self.policy.find_full_quota(self.event_type, self.units, credits, self.taken_before)
        return ""

    def as_document(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return {
            "policyId": self.policy_id,
            "policyVersion": self.policy_version,
            "mode": self.policy.mode,
            "wouldRefuse": self.would_refuse,
            "degraded": self.is_degraded,
            "credits": self.credits,
            "gates": None if self.is_late or self.is_forgotten else self._list_gates(),
        }

    def _list_gates(self) -> dict[str, Any]:
        rates = self.policy.rates_of(self.event_type)
        used: Sequence[int | None] = self.rates_used or [None] * len(rates)
        available = self.available_before
        return {
            "rates": [
                {"name": rate.name, "limit": rate.burst, "usedBefore": before}
                for rate, before in zip(rates, used, strict=False)
            ],
            "quotas": self._list_quotas() if self.taken_before else [],
            "credits": None if available is None else {"availableBefore": available},
        }

    def _list_quotas(self) -> list[dict[str, Any]]:
        # Of an event that was denied, what it would have taken: else nothing would say why a quota of credits did so.
        credits = self.policy.price_of(self.event_type, self.units) or 0 if self.is_denied else self.credits
        return [
            _render_quota(quota.name, quota.limit, before, quota.count(self.units, credits))
            for quota, before in zip(self.policy.quotas_of(self.event_type), self.taken_before or (), strict=True)
        ]


def _render_quota(name: str, limit: int, before: int, amount: int) -> dict[str, Any]:
    """Return what a quota saw. What it takes last counts as what is over the limit, and is given back first."""
    over = before + amount - limit
    overage = 0 if over <= 0 else over - max(0, before - limit)
    return {"name": name, "limit": limit, "usedBefore": before, "amount": amount, "overage": overage}


@dataclass(slots=True)
class Decision:
    """What was decided about an event; `stale`: nothing was, its policy is another one than the caller knew.

    `hold_id` is the hold that stands for the event, which may be that of an earlier attempt; `held_at` when it was
    made, None of an event that is charged already. `retry_after_seconds` is None where waiting alone does not help.
    Of one that was denied `held_at` is when. `quota_resets` is when the periods of the receipt's quotas end.
    `is_new`: not the repetition of an earlier grant.
    """

    hold_id: str
    decision: Literal["granted", "denied", "conflict", "error", "stale"]
    code: str | None = None
    retry_after_seconds: int | None = None
    held_at: datetime | None = None
    receipt: Receipt | None = None
    quota_resets: Sequence[datetime] | None = None
    is_new: bool = True

    def find_reset(self, quota_name: str) -> datetime | None:
        """Return when the period of the quota ends that refused the event, None where none did."""
        if self.receipt is None or self.code != QUOTA_EXCEEDED:
            return None
        quotas = self.receipt.policy.quotas_of(self.receipt.event_type)
        ends = zip(quotas, self.quota_resets or (), strict=False)
        return next((end for quota, end in ends if quota.name == quota_name), None)

    def list_limits(self) -> list[dict[str, Any]]:
        """Return, as JSON values, what is left of each limit after a decision that was made now, else nothing."""
        receipt = self.receipt
        if receipt is None or self.held_at is None or receipt.is_degraded:
            return []
        if self.quota_resets is None and receipt.taken_before is not None:
            return []  # decided before
        policy, event_type = receipt.policy, receipt.event_type
        is_granted = self.decision == "granted"
        limits = []
        for rate, used in zip(policy.rates_of(event_type), receipt.rates_used or (), strict=False):
            taken = used + is_granted
            seconds = -(-taken * rate.period_seconds // rate.limit)
            limits.append(_render_limit(rate.name, rate.burst, taken, seconds))
        if receipt.taken_before and self.quota_resets:
            quotas = policy.quotas_of(event_type)
            for quota, before, end in zip(quotas, receipt.taken_before, self.quota_resets, strict=False):
                taken = before + is_granted * quota.count(receipt.units, receipt.credits)
                seconds = -((self.held_at - end) // _SECOND)  # rounded up
                limits.append(_render_limit(quota.name, quota.limit, taken, seconds))
        return limits


def _render_limit(name: str, limit: int, taken: int, reset_seconds: int) -> dict[str, Any]:
    return {"name": name, "limit": limit, "remaining": max(0, limit - taken), "resetSeconds": reset_seconds}


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
class ChargeLine:
    """The charge of one event. `user_id` is None without a user, and of an erased one."""

    entry_id: int
    at: datetime
    event_id: str
    user_id: str | None
    receipt: Receipt

    def as_document(self) -> dict[str, Any]:
        """Return the charge as JSON values, for callers and operators alike."""
        return {
            "kind": "charge",
            "at": self.at,
            "eventType": self.receipt.event_type,
            "userId": self.user_id,
            "eventId": self.event_id,
            "units": self.receipt.units,
            "credits": self.receipt.credits,
            "late": self.receipt.is_late,
            "receipt": self.receipt.as_document(),
        }
