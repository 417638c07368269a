"""A client's usage, as metering tells it: read with the suspicion of `answers`, and only what is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metering_client.answers import (
    take_count,
    take_cursor,
    take_entries,
    take_moment,
    take_text,
)
from metering_client.errors import MalformedResponse

_OF_EVERY_ENTRY = ("kind", "at", "eventType", "userId", "receipt")
_OF_KIND = {
    "charge": ("eventId", "units", "credits", "late"),
    "refusal": ("code", "limit", "count", "firstAt", "firstReceipt"),
}


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


def read_summary(document: Any) -> ClientSummary:
    """Return a client's summary."""
    types = [_read_type(entry) for entry in take_entries(document, "usage")]
    quotas = [
        {
            "name": take_text(entry, "name"),
            "limit": take_count(entry, "limit"),
            "used": take_count(entry, "used"),
            "resetsAt": take_moment(entry, "resetsAt"),
        }
        for entry in take_entries(document, "quotas")
    ]
    prices, balance = _take_object(document, "prices"), document.get("balance")
    return ClientSummary(
        {each.event_type: each for each in types},
        {event_type: take_count(prices, event_type) for event_type in prices},
        quotas,
        None if balance is None else _read_balance(_take_object(document, "balance")),
    )


def _read_type(entry: Any) -> TypeUsage:
    refused = _take_object(entry, "refused")
    return TypeUsage(
        take_text(entry, "eventType"),
        take_count(entry, "charged"),
        sum(take_count(refused, code) for code in refused),
        take_count(entry, "credits"),
        take_moment(entry, "lastAt"),
    )


def _read_balance(balance: dict[str, Any]) -> dict[str, Any]:
    available = balance.get("available")  # negative after an overdraft
    if type(available) is not int:
        raise MalformedResponse("available is no integer")
    expiring = balance.get("expiringNext")
    if expiring is not None:
        expiring = {"credits": take_count(expiring, "credits"), "at": take_moment(expiring, "at")}
    return {"available": available, "held": take_count(balance, "held"), "expiringNext": expiring}


def read_decision_page(document: Any) -> DecisionPage:
    """Return a page of charges and refusals."""
    entries = [_read_entry(entry) for entry in take_entries(document, "decisions")]
    return DecisionPage(entries, take_cursor(document))


def _read_entry(entry: Any) -> dict[str, Any]:
    names = (*_OF_EVERY_ENTRY, *_OF_KIND.get(take_text(entry, "kind"), ()))
    if len(names) == len(_OF_EVERY_ENTRY) or not entry.keys() >= set(names):
        raise MalformedResponse("neither a charge nor a refusal")
    take_moment(entry, "at")
    return {name: entry[name] for name in names}


def _take_object(document: Any, name: str) -> dict[str, Any]:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, dict):
        raise MalformedResponse(f"{name} is no object")
    return value
