"""A client's usage, as metering tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TypeUsage:
    """How many events of a type were charged and refused, the credits they took, and when the last one was."""

    event_type: str
    charged: int = 0
    refused: int = 0
    credits: int = 0
    last_at: str | None = None


@dataclass(frozen=True, slots=True)
class ClientSummary:
    """A month's usage by event type, and prices, quotas and balance at present; `balance` None: nothing costs."""

    types: Mapping[str, TypeUsage]
    prices: Mapping[str, int]
    quotas: Sequence[Mapping[str, Any]]
    balance: Mapping[str, Any] | None

    def price_of(self, event_type: str) -> int | None:
        """Return the credits for one unit of a type, None where it is not sold."""
        return self.prices.get(event_type, self.prices.get("*"))


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Charges and refusals as JSON values, newest first, and where the next page begins."""

    entries: Sequence[Mapping[str, Any]]
    next_cursor: str | None
