"""Commercial policies: what a client may do, how often, and at what price."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

Period = Literal["day", "month"]

MAX_IDENTIFIER_CHARACTERS = 255
"""Of the ids that callers give: of policies and clients, of events, grants and adjustments."""
MAX_PRICE_CREDITS = 1_000_000_000
MAX_UNITS = 1_000_000
MAX_GRANT_CREDITS = 1_000_000_000_000
"""Bounds that keep every sum within 64 bits: nine million of the largest grants."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` requests in `period_seconds` on the long run, up to `burst` of them at once."""

    limit: int
    period_seconds: int
    burst: int

    @property
    def period_microseconds(self) -> int:
        """The period, in microseconds: also the ticks in which one request's worth comes back (rates/gcra.py)."""
        return self.period_seconds * 1_000_000

    @property
    def as_script_arguments(self) -> tuple[int, int, int, int, int]:
        """The rate as `gcra.lua` takes it: times as whole microseconds and ticks, of which a microsecond has `limit`.

        A burst that comes back in more than 142 years counts as one of 142: the script's numbers are doubles.
        """
        interval, interval_ticks = divmod(self.period_microseconds, self.limit)
        burst, burst_ticks = divmod(self.burst * self.period_microseconds, self.limit)
        return interval, interval_ticks, self.limit, min(burst, 2**52), burst_ticks


@dataclass(frozen=True, slots=True)
class Quota:
    """Events (not credits) in a calendar period, UTC."""

    limit: int
    period: Period


@dataclass(frozen=True, slots=True)
class Policy:
    """The terms of one version of a policy. An event type without a price is free."""

    rate: Rate | None
    quota: Quota | None
    prices: Mapping[str, int]
    credits: Literal["prepaid", "unlimited"]
    mode: Literal["enforce", "shadow"]


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A policy as it was from `created_at` on."""

    policy_id: str
    version: int
    policy: Policy
    created_at: datetime

    def as_document(self) -> dict[str, Any]:
        """Return the version as JSON values, for callers and operators alike."""
        rate, quota = self.policy.rate, self.policy.quota
        return {
            "policyId": self.policy_id,
            "version": self.version,
            "createdAt": self.created_at,
            "rate": {"limit": rate.limit, "periodSeconds": rate.period_seconds, "burst": rate.burst}
            if rate
            else None,
            "quota": asdict(quota) if quota else None,
            "prices": dict(self.policy.prices),
            "credits": self.policy.credits,
            "mode": self.policy.mode,
        }


def is_identifier(text: str) -> bool:
    """Return whether `text` can be an id that callers give in a path, or operators in a command."""
    return 1 <= len(text) <= MAX_IDENTIFIER_CHARACTERS and text.isprintable()


def find_period(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """Return the start and the end of the calendar period, in UTC, that `now` (UTC) falls in."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight, midnight + timedelta(days=1)
    start = midnight.replace(day=1)
    return start, (start + timedelta(days=32)).replace(day=1)


def seconds_until_period_ends(period: Period, now: datetime) -> int:
    """Return whole seconds, rounded up: after that long the new period has begun, a second earlier it has not."""
    return math.ceil((find_period(period, now)[1] - now).total_seconds())
