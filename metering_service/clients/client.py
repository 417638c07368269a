"""What is seen of a client among others, and how its balance ran down. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from metering_service.accounts.account import QuotaUse
from metering_service.policies.policy import PolicyVersion

Order = Literal["name", "spend", "refusals", "ending"]

SEEN_DAYS = 30
"""UTC days, today's among them, of which spend and refusals are summed up."""
PACE_DAYS = 7
"""UTC days whose spend says how long a balance will last."""


@dataclass(frozen=True, slots=True)
class ClientLine:
    """A client among others. `charged`, `credits` and `refused` are sums of the last SEEN_DAYS.

    `pace_credits` were spent in the last PACE_DAYS.
    """

    client_id: str
    available: int
    held: int
    last_at: datetime
    charged: int
    credits: int
    pace_credits: int
    refused: int

    @property
    def days_left(self) -> int | None:
        """How many days what is available lasts at the present pace, None where nothing is spent."""
        return None if not self.pace_credits else max(self.available, 0) * PACE_DAYS // self.pace_credits


@dataclass(frozen=True, slots=True)
class ListedClient:
    """A client in the list: with the policy that it has, and how much of its quotas it has used."""

    line: ClientLine
    version: PolicyVersion
    quotas: Sequence[QuotaUse]


@dataclass(frozen=True, slots=True)
class BalanceDay:
    """A UTC day of a client's credits: what was spent, and given and lost by kind of ledger line, signed.

    `left` is what was not spent at its end, held or not.
    """

    day: date
    left: int
    spent: int
    given: Mapping[str, int] = field(default_factory=dict)

    @property
    def added(self) -> Mapping[str, int]:
        """What made it more, by kind of ledger line."""
        return {kind: credits for kind, credits in self.given.items() if credits > 0}

    @property
    def taken(self) -> Mapping[str, int]:
        """What made it less without an event, by kind of ledger line."""
        return {kind: credits for kind, credits in self.given.items() if credits < 0}


def run_down(
    days: Sequence[date], left: int, spent: Mapping[date, int], given: Iterable[tuple[date, str, int]]
) -> list[BalanceDay]:
    """Return what was left at the end of each of `days`, oldest first, counted back from what is `left` now."""
    by_day: dict[date, dict[str, int]] = {}
    for day, kind, credits in given:
        by_day.setdefault(day, {})[kind] = credits
    found = []
    for day in reversed(days):
        found.append(BalanceDay(day, left, spent.get(day, 0), by_day.get(day, {})))
        left += spent.get(day, 0) - sum(by_day.get(day, {}).values())
    return found[::-1]
