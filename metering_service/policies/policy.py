"""Commercial policies: what a client may do, how often, and at what price. Others call one a price plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote

Period = Literal["hour", "day", "week", "month", "year"]
Counts = Literal["events", "units", "credits"]
Per = Literal["client", "user"]
Credits = Literal["prepaid", "unlimited", "overdraft"]

ANY_TYPE = "*"
"""Stands for every event type: in a limit's list, and as the price of those that are not listed."""
BALANCE = "balance"
OF_QUOTA = "quota:"
"""What a threshold is of: the balance, or the quota of the name that follows."""
MAX_LIMITS = 8
"""Rates of a policy, and quotas of one."""
MAX_IDENTIFIER_CHARACTERS = 255
"""Of the ids that callers give: of policies and clients, of events, grants and adjustments."""
MAX_NOTE_CHARACTERS = 1000
MAX_PRICE_CREDITS = 1_000_000_000
MAX_UNITS = 1_000_000
MAX_GRANT_CREDITS = 1_000_000_000_000
"""Bounds that keep every sum within 64 bits: nine million of the largest grants."""


@dataclass(frozen=True)
class Rate:
    """`limit` requests in `period_seconds` on the long run, up to `burst` of them at once.

    `per` user, each user of a client has as many; events without a user share one. Without slots, to keep what is
    made of it for every event.
    """

    name: str
    limit: int
    period_seconds: int
    burst: int
    per: Per = "client"
    event_types: tuple[str, ...] = (ANY_TYPE,)

    @property
    def period_microseconds(self) -> int:
        """The period, in microseconds: also the ticks in which one request's worth comes back (rates/gcra.py)."""
        return self.period_seconds * 1_000_000

    @cached_property
    def as_script_arguments(self) -> tuple[int, int, int, int, int]:
        """The rate as `gcra.lua` takes it: times as whole microseconds and ticks, of which a microsecond has `limit`.

        A burst that comes back in more than 142 years counts as one of 142: the script's numbers are doubles.
        """
        interval, interval_ticks = divmod(self.period_microseconds, self.limit)
        burst, burst_ticks = divmod(self.burst * self.period_microseconds, self.limit)
        return interval, interval_ticks, self.limit, min(burst, 2**52), burst_ticks

    def as_document(self) -> dict[str, Any]:
        """Return the rate as JSON values."""
        return {
            "name": self.name,
            "limit": self.limit,
            "periodSeconds": self.period_seconds,
            "burst": self.burst,
            "per": self.per,
            "eventTypes": list(self.event_types),
        }


@dataclass(frozen=True)
class Quota:
    """So many events, units or credits in a period, UTC; `overage` is how far above it they pass, None for any.

    `anchor` `assigned`: periods are counted from the moment the client was assigned a policy, not by the calendar.
    Without slots, as Rate.
    """

    name: str
    limit: int
    counts: Counts = "events"
    period: Period = "month"
    anchor: Literal["calendar", "assigned"] = "calendar"
    per: Per = "client"
    event_types: tuple[str, ...] = (ANY_TYPE,)
    overage: int | None = 0

    @cached_property
    def rule(self) -> str:
        """What, besides its name, makes a counter another one: limit and overage may change and it goes on."""
        # Quoted, since a type may have blanks: "a b" is not "a" and "b".
        types = [quote(event_type, safe="*") for event_type in sorted(self.event_types)]
        return " ".join((self.counts, self.period, self.anchor, self.per, *types))

    @property
    def most(self) -> int | None:
        """Limit and overage, None for no end."""
        return None if self.overage is None else self.limit + self.overage

    def count(self, units: int, credits: int) -> int:
        """Return what an event of so many units and credits takes of it."""
        return 1 if self.counts == "events" else units if self.counts == "units" else credits

    def as_document(self) -> dict[str, Any]:
        """Return the quota as JSON values."""
        return {
            "name": self.name,
            "limit": self.limit,
            "counts": self.counts,
            "period": self.period,
            "anchor": self.anchor,
            "per": self.per,
            "eventTypes": list(self.event_types),
            "overage": "unlimited" if self.overage is None else self.overage,
        }


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When somebody is to be told: of a quota, at these fractions of its limit, of the balance, at so many credits.

    `of` is `balance` or `quota:NAME`.
    """

    of: str
    at: tuple[float, ...]

    def as_document(self) -> dict[str, Any]:
        """Return the thresholds as JSON values."""
        return {"of": self.of, "at": list(self.at)}


@dataclass(frozen=True)
class Policy:
    """The terms of one version of a policy. `prices` are credits per unit, by event type.

    `credits` `overdraft`: what is available may go down to -`overdraft`, else never below zero. Without slots, as
    Rate.
    """

    rates: tuple[Rate, ...]
    quotas: tuple[Quota, ...]
    prices: Mapping[str, int]
    credits: Credits
    mode: Literal["enforce", "shadow"]
    overdraft: int = 0
    notices: tuple[Thresholds, ...] = ()

    def rates_of(self, event_type: str) -> Sequence[Rate]:
        """Return the rates that an event of this type takes a place in."""
        return self._rates_by_type.get(event_type, self._rates_by_type[ANY_TYPE])

    def quotas_of(self, event_type: str) -> Sequence[Quota]:
        """Return the quotas that an event of this type counts in."""
        return self._quotas_by_type.get(event_type, self._quotas_by_type[ANY_TYPE])

    @cached_property
    def _rates_by_type(self) -> Mapping[str, Sequence[Rate]]:
        return _sort_by_type(self.rates)

    @cached_property
    def _quotas_by_type(self) -> Mapping[str, Sequence[Quota]]:
        return _sort_by_type(self.quotas)

    def find_full_rate(self, event_type: str, used: Sequence[int] | None) -> str:
        """Return the name of the first rate that has no place left, '' for none; `used` as they apply, in order."""
        rates = zip(self.rates_of(event_type), used or (), strict=False)
        return next((rate.name for rate, in_use in rates if in_use >= rate.burst), "")

    def find_full_quota(self, event_type: str, units: int, credits: int, used: Sequence[int] | None) -> str:
        """Return the name of the first quota that an event would go beyond, '' for none; `used` as of rates."""
        for quota, before in zip(self.quotas_of(event_type), used or (), strict=False):
            if quota.most is not None and before + quota.count(units, credits) > quota.most:
                return quota.name
        return ""

    def price_of(self, event_type: str, units: int) -> int | None:
        """Return the credits of `units` of this type, None where it is not sold. Without prepaid credits it is 0."""
        price = self.prices.get(event_type, self.prices.get(ANY_TYPE))
        return None if price is None else 0 if self.credits == "unlimited" else price * units

    @property
    def least_available(self) -> int | None:
        """What is available once nothing more can be spent, None where credits are not asked for."""
        return None if self.credits == "unlimited" else -self.overdraft

    def as_document(self) -> dict[str, Any]:
        """Return the terms as JSON values, as they are put and as they are stored."""
        return {
            "rates": [rate.as_document() for rate in self.rates],
            "quotas": [quota.as_document() for quota in self.quotas],
            "prices": dict(sorted(self.prices.items())),
            "credits": {"overdraft": self.overdraft} if self.credits == "overdraft" else self.credits,
            "mode": self.mode,
            "notices": [thresholds.as_document() for thresholds in self.notices],
        }


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A policy as it is from `effective_at` on, until another version is."""

    policy_id: str
    version: int
    policy: Policy
    created_at: datetime
    effective_at: datetime

    @property
    def mark(self) -> str:
        """What tells it from every other version, also from one that was booked under its number and taken back."""
        return f"{self.version} {self.created_at.isoformat()}"

    def as_document(self) -> dict[str, Any]:
        """Return the version as JSON values, for callers and operators alike."""
        return {
            "policyId": self.policy_id,
            "version": self.version,
            "createdAt": self.created_at,
            "effectiveAt": self.effective_at,
            **self.policy.as_document(),
        }


class ClientPolicies(NamedTuple):
    """What decides about a client's events, and what is decided beside it and refuses nothing, None for nothing."""

    enforced: PolicyVersion
    shadow: PolicyVersion | None = None


_Limit = TypeVar("_Limit", Rate, Quota)


def _sort_by_type(limits: Sequence[_Limit]) -> dict[str, list[_Limit]]:
    """Return the limits of each type that one of them names, and those of any type for all others."""
    named = {ANY_TYPE, *(event_type for limit in limits for event_type in limit.event_types)}
    return {
        event_type: [limit for limit in limits if event_type in limit.event_types or ANY_TYPE in limit.event_types]
        for event_type in named
    }


WRONG_IDENTIFIER = f"Must be 1 to {MAX_IDENTIFIER_CHARACTERS} printable characters, and neither . nor .. alone."
WRONG_NOTE = f"Must be 1 to {MAX_NOTE_CHARACTERS} printable characters and line ends."


def is_identifier(text: str) -> bool:
    """Return whether `text` can be an id that callers or operators give.

    Browsers and libraries take . and .. out of a path, also where they are escaped.
    """
    return 1 <= len(text) <= MAX_IDENTIFIER_CHARACTERS and text.isprintable() and text not in (".", "..")


def is_note(text: str) -> bool:
    """Return whether `text` can be a note or a reason, which may have several lines."""
    return 1 <= len(text) <= MAX_NOTE_CHARACTERS and text.replace("\n", "").isprintable()
