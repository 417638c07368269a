"""What must be true of plays, their fences, keys and charges: pure checks, a row or a pair at a time."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import orjson

from activity_service.billing.outbox_store import UnsettledEvent
from activity_service.errors import OutOfOrder
from activity_service.plays.idempotency import IdempotentRequest
from service_chassis.cli.audit_report import Finding


@dataclass(frozen=True, slots=True)
class Fact:
    """Something billable that plays say happened: a play was created, or ended for the first time."""

    event_id: str
    client_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FencedFact:
    """A fact beside the rows of `billable_event` that say 'happened' for its event.

    `client_id` and `at` are the play's, None where no play says so; `fence_client_id` is None where no fence does.
    """

    event_id: str
    client_id: str | None
    at: datetime | None
    fences: int
    fence_client_id: str | None
    fence_user_matches: bool


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An idempotency key with its play and the response stored for it; `user_id` is '' for a client's own key."""

    client_id: str
    user_id: str
    key: str
    play_id: UUID
    response: bytes


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as metering lists it."""

    event_id: str
    client_id: str
    event_type: str
    at: datetime
    late: bool


Pair = tuple[Fact | None, Charge | None]
Keyed = TypeVar("Keyed", Fact, Charge)


def check_fences(fact: FencedFact) -> Iterator[Finding]:
    """Yield what is wrong between a play and its fences: each fact has exactly one, no fence is without."""
    if fact.at is None:
        yield Finding("fact_missing", fact.event_id, f"{fact.fences} fences say it happened, and no play does")
        return
    if fact.fences != 1:
        yield Finding("fence_count", fact.event_id, f"a play says it happened, and {fact.fences} fences do")
    elif fact.fence_client_id != fact.client_id or not fact.fence_user_matches:
        yield Finding("fence_differs", fact.event_id, "play and fence name another client or user")


def check_key(stored: StoredKey) -> Iterator[Finding]:
    """Yield what is wrong with a key: its play is the one whose id it makes, and its response is about that play."""
    request = IdempotentRequest(stored.client_id, stored.user_id, stored.key, fingerprint=b"")
    if request.derive_play_id() != stored.play_id:
        yield Finding("key_of_another_play", str(stored.play_id), "a key stored for it makes another play's id")
    if _read_play_id(stored.response) != str(stored.play_id):
        yield Finding(
            "response_of_another_play", str(stored.play_id), "the response stored for its key is not about it"
        )


def _read_play_id(response: bytes) -> object:
    try:
        return orjson.loads(response)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return None


def describe_waiting(waiting: UnsettledEvent, now: datetime) -> Finding:
    """Say what waits, for how long, and why."""
    seconds = max(0, round((now - waiting.created_at).total_seconds()))
    why = f", {waiting.last_error}" if waiting.last_error else ""
    return Finding("unsettled", waiting.event_id, f"not settled for {seconds:,} s, {waiting.attempts} attempts{why}")


def describe_parked(parked: UnsettledEvent) -> Finding:
    """Say what metering refuses to charge: it happened, and nobody is billed until a person mends it."""
    return Finding("parked", parked.event_id, f"metering refused it: {parked.last_error}")


def check_pair(pair: Pair) -> Iterator[Finding]:
    """Yield what is wrong with a fact and its charge: either without the other, or another client's."""
    fact, charge = pair
    if fact is None and charge is not None:
        yield Finding("charge_without_fact", charge.event_id, f"{charge.client_id} was charged, and no play says why")
    elif charge is None and fact is not None:
        yield Finding("fact_uncharged", fact.event_id, f"happened at {fact.at:%Y-%m-%d %H:%M:%S}, and is not charged")
    elif fact is not None and charge is not None:
        if fact.client_id != charge.client_id:
            yield Finding(
                "charge_of_another_client", fact.event_id, f"{fact.client_id}'s fact, charged to {charge.client_id}"
            )
        if charge.event_type != fact.event_id.partition(":")[0]:
            yield Finding("charge_of_another_type", fact.event_id, f"charged as {charge.event_type}")


async def pair_in_order(facts: AsyncIterator[Fact], charges: AsyncIterator[Charge]) -> AsyncIterator[Pair]:
    """Join two streams that are sorted by event id, outer on both sides, in one pass and constant memory.

    An event that a stream names twice comes out twice, the second time without a twin. Raises OutOfOrder.
    """
    facts, charges = _in_order(facts), _in_order(charges)
    fact, charge = await anext(facts, None), await anext(charges, None)
    while fact is not None or charge is not None:
        if charge is None or (fact is not None and fact.event_id < charge.event_id):
            yield fact, None
            fact = await anext(facts, None)
        elif fact is None or charge.event_id < fact.event_id:
            yield None, charge
            charge = await anext(charges, None)
        else:
            yield fact, charge
            fact, charge = await anext(facts, None), await anext(charges, None)


async def _in_order(items: AsyncIterator[Keyed]) -> AsyncIterator[Keyed]:
    last = ""
    async for item in items:
        if item.event_id < last:
            raise OutOfOrder(f"{item.event_id} after {last}")
        last = item.event_id
        yield item
