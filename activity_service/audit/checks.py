"""What must be true of plays, their events and charges: pure checks, a row or a pair at a time."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from activity_service.billing.outbox_store import UnsettledEvent
from activity_service.errors import OutOfOrder
from service_chassis.cli.audit_report import Finding


@dataclass(frozen=True, slots=True)
class Fact:
    """Something billable that plays say happened: a play was created, or ended for the first time."""

    event_id: str
    client_id: str
    user_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AnnouncedEvent:
    """A row of `billable_event` that says 'happened', beside the play that says so; `fact_client_id` None
    without one.
    """

    event_id: str
    client_id: str
    fact_client_id: str | None
    is_same_user: bool


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


def check_announced(event: AnnouncedEvent) -> Iterator[Finding]:
    """Yield what is wrong between an event that is to be charged and the play that it is of."""
    if event.fact_client_id is None:
        yield Finding("fact_missing", event.event_id, "is to be charged, and no play says that it happened")
    elif event.fact_client_id != event.client_id or not event.is_same_user:
        yield Finding("event_differs", event.event_id, "play and event name another client or user")


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
