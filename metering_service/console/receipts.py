"""A receipt as a page shows it: each limit that was asked, what stood before, and which one refused. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from metering_service.events.event import BALANCE_EXHAUSTED, NOT_SOLD, QUOTA_EXCEEDED, RATE_LIMITED
from metering_service.policies.policy import Policy
from metering_service.replay.replay import find_start


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit: its kind and name, what it allows, what stood before, what this event took, and whether it refused."""

    kind: str
    name: str
    limit: int | None
    before: int | None
    amount: int | None
    refused: bool = False

    @property
    def after(self) -> int | None:
        """What stands after it, None where that is not known, or nothing was taken."""
        if self.before is None or self.amount is None or self.refused:
            return None
        return self.before - self.amount if self.kind == "credits" else self.before + self.amount


def list_gates(receipt: Mapping[str, Any], code: str | None = None, limit: str | None = None) -> list[Gate]:
    """Return the limits of a receipt, as its document has them; `code` and `limit` are what refused."""
    gates = receipt["gates"]
    if gates is None:
        return []
    rates = [
        Gate(
            "rate", each["name"], each["limit"], each["usedBefore"], 1, (code, limit) == (RATE_LIMITED, each["name"])
        )
        for each in gates["rates"]
    ]
    quotas = [
        Gate(
            *("quota", each["name"], each["limit"], each["usedBefore"], each["amount"]),
            refused=(code, limit) == (QUOTA_EXCEEDED, each["name"]),
        )
        for each in gates["quotas"]
    ]
    credits: Sequence[Gate] = ()
    if gates["credits"] is not None:
        before = gates["credits"]["availableBefore"]
        taken = None if code else receipt["credits"]
        credits = [Gate("credits", "Available credits", None, before, taken, code == BALANCE_EXHAUSTED)]
    return [*rates, *quotas, *credits]


def say_when(policy: Policy | None, code: str, limit: str, at: datetime, gates: Sequence[Gate] = ()) -> str:
    """Return when an event that was refused at a moment, at these limits, would pass, by its terms."""
    rate = next((each for each in policy.rates if each.name == limit), None) if policy else None
    quota = next((each for each in policy.quotas if each.name == limit), None) if policy else None
    if code == RATE_LIMITED and rate:
        return (
            f"Soon: this rate gives back {rate.limit:,} in {_say_seconds(rate.period_seconds)}, "
            f"so one place came back within {_say_seconds(-(-rate.period_seconds // rate.limit))}."
        )
    if code == QUOTA_EXCEEDED and policy:
        asked = {gate.name: gate.amount or 0 for gate in gates if gate.kind == "quota"}
        small = next((q for q in policy.quotas if q.most is not None and asked.get(q.name, 0) > q.most), None)
        if small is not None:
            return f"Never: it is more than {small.name} allows in a whole {small.period}."
    if code == QUOTA_EXCEEDED and quota:
        if quota.anchor == "assigned":
            return f"When the quota's {quota.period} ended, counted from when the client was assigned its policy."
        start = find_start(quota.period, at)
        end = find_start(quota.period, start + _LONGER_THAN[quota.period])
        return f"When its {quota.period} ended, at {end:%Y-%m-%d %H:%M} UTC, or as soon as a hold was given back."
    return {
        RATE_LIMITED: "Within the rate's period.",
        QUOTA_EXCEEDED: "When the quota's period ended.",
        BALANCE_EXHAUSTED: "When the client has more credits: waiting alone does not help.",
        NOT_SOLD: "When the policy has a price for this event type: waiting does not help.",
    }.get(code, "")


_LONGER_THAN = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
}
"""As long as a period or a little longer: from its start, somewhere in the next one."""


def _say_seconds(seconds: int) -> str:
    size, unit = next(
        (size, unit)
        for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
        if seconds % size == 0
    )
    return f"1 {unit}" if seconds == size else f"{seconds // size:,} {unit}s"
