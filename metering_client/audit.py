"""Audit the caller's books: is every event that waits of a fact, and has every fact its one charge? Reads only."""

from collections.abc import AsyncIterator, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import asyncpg

from metering_client.audit_store import AuditStore
from metering_client.charges_client import Charge, ChargesClient
from metering_client.errors import OutOfOrder
from metering_client.event import BillableEvent, Fact
from metering_client.outbox_store import OutboxStore, UnsettledEvent
from service_chassis.cli.audit_report import AuditReport, Finding
from service_chassis.database.pool import open_snapshot

KEPT_SUSPECTS = 1000
"""Pairs that look wrong at first and are read once more. A system with more of them is unsound beyond doubt."""

Pair = tuple[Fact | None, Charge | None]
Keyed = TypeVar("Keyed", Fact, Charge)


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """Checks facts of `event_types` as they are at `now`; those younger than `in_flight_seconds` may be on their way.

    `pool` sees the rows of all clients. Facts come from the caller, sorted by event id, in the order of bytes
    (`ORDER BY event_id COLLATE "C"`), and best from one snapshot.
    """

    pool: asyncpg.Pool
    event_types: AbstractSet[str]
    now: datetime
    in_flight_seconds: float

    @property
    def _youngest(self) -> datetime:
        return self.now - timedelta(seconds=self.in_flight_seconds)

    async def check_outbox(self, subject: str) -> AuditReport:
        """Check every event that is to be charged: its fact is there, and it does not wait for long, nor is parked.

        `subject` is what the report calls the caller. One snapshot, constant memory.
        """
        report = AuditReport(subject)
        async with open_snapshot(self.pool) as connection:
            store = AuditStore(connection)
            if waiting_events := await store.count_happened():
                report.count("to be charged", waiting_events)
            async for event_id in store.stream_without_fact():
                report.add_violations(
                    [Finding("fact_missing", event_id, "is to be charged, and its fact is not there")]
                )
            async for waiting in store.stream_waiting(self._youngest):
                if waiting.parked_at is not None:
                    report.add_violations([_describe_parked(waiting)])
                else:
                    report.add_unfinished([_describe_waiting(waiting, self.now)])
        return report

    async def check_charges(self, subject: str, facts: AsyncIterator[Fact], charges: ChargesClient) -> AuditReport:
        """Join facts and charges, each without its twin a violation. Raises ChargesUnreadable, OutOfOrder.

        Facts in the outbox, also those that are parked, are left to `check_outbox`: only both say that all is well.
        For a system in use: what looks wrong is read again, since facts come from one moment and charges from many.
        """
        report = AuditReport(subject)
        suspects: list[Pair] = []
        previous = ""
        async for pair in pair_in_order(facts, self._keep_own(charges, report)):
            fact, charge = pair
            report.count("pairs")
            if charge is not None and charge.event_id == previous:
                twice = Finding("charged_twice", charge.event_id, "metering lists two charges of it")
                report.add_violations([twice])
            elif fact is not None and charge is not None:
                report.add_violations(_check_pair(pair))
            elif fact is not None and self.is_in_flight(fact):
                report.count("in flight")
            elif len(suspects) < KEPT_SUSPECTS:
                suspects.append(pair)
            else:
                report.add_violations(_check_pair(pair))
            previous = charge.event_id if charge is not None else previous
        for pair in await self._confirm(charges, suspects):
            report.add_violations(_check_pair(pair))
        return report

    def is_in_flight(self, fact: Fact) -> bool:
        """Return whether a fact is so young that its charge may be on its way."""
        return fact.at > self._youngest

    async def list_uncharged(self, facts: AsyncIterator[Fact], charges: ChargesClient) -> AsyncIterator[Fact]:
        """Yield the facts that lack their charge. Raises ChargesUnreadable, OutOfOrder."""
        async for fact, charge in pair_in_order(facts, self._keep_own(charges, AuditReport(""))):
            if fact is not None and charge is None:
                yield fact

    async def _keep_own(self, charges: ChargesClient, report: AuditReport) -> AsyncIterator[Charge]:
        """Yield the charges of the caller's facts; count the others."""
        async for charge in charges.stream_charges():
            if charge.event_type in self.event_types:
                yield charge
            else:
                report.count("charges of others")

    async def _confirm(self, charges: ChargesClient, suspects: list[Pair]) -> list[Pair]:
        """Return those of `suspects` that still lack their twin.

        A fact that waits in the outbox is not charged yet, and listed there. One that was settled since `_youngest`
        may have missed the list. One settled before should have been in it: its hold says settled, and the charge
        is gone.
        """
        orphans = [_as_event(charge) for _, charge in suspects if charge is not None]
        async with self.pool.acquire() as connection:
            happened = await OutboxStore(connection).list_happened(orphans) if orphans else set()
            waiting = await AuditStore(connection).list_waiting(
                [fact.event_id for fact, _ in suspects if fact is not None]
            )
        confirmed: list[Pair] = []
        for fact, charge in suspects:
            if fact is not None:
                if fact.event_id in waiting:
                    continue
                settled_at = await charges.fetch_settled_at(fact.client_id, fact.event_id)
                is_confirmed = settled_at is None or settled_at <= self._youngest
            else:
                is_confirmed = charge is not None and charge.hold_id not in happened
            if is_confirmed:
                confirmed.append((fact, charge))
        return confirmed


def _as_event(charge: Charge) -> BillableEvent:
    return BillableEvent(charge.hold_id, charge.event_id, charge.client_id, charge.event_type)


def _describe_waiting(waiting: UnsettledEvent, now: datetime) -> Finding:
    """Say what waits, for how long, and why."""
    seconds = max(0, round((now - waiting.created_at).total_seconds()))
    why = f", {waiting.last_error}" if waiting.last_error else ""
    return Finding("unsettled", waiting.event_id, f"not settled for {seconds:,} s, {waiting.attempts} attempts{why}")


def _describe_parked(parked: UnsettledEvent) -> Finding:
    """Say what metering refuses to charge: it happened, and nobody is billed until a person mends it."""
    return Finding("parked", parked.event_id, f"metering refused it: {parked.last_error}")


def _check_pair(pair: Pair) -> Iterator[Finding]:
    """Yield what is wrong with a fact and its charge: either without the other, or what they say apart."""
    fact, charge = pair
    if fact is None and charge is not None:
        yield Finding("charge_without_fact", charge.event_id, f"{charge.client_id} was charged, and no fact says why")
    elif charge is None and fact is not None:
        yield Finding("fact_uncharged", fact.event_id, f"happened at {fact.at:%Y-%m-%d %H:%M:%S}, and is not charged")
    elif fact is not None and charge is not None:
        if fact.client_id != charge.client_id:
            yield Finding(
                "charge_of_another_client", fact.event_id, f"{fact.client_id}'s fact, charged to {charge.client_id}"
            )
        if charge.event_type != fact.event_type:
            yield Finding("charge_of_another_type", fact.event_id, f"charged as {charge.event_type}")
        if charge.units not in (None, fact.units):
            yield Finding("charge_of_other_units", fact.event_id, f"{fact.units} units, charged for {charge.units}")


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
