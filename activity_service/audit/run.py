"""Audit the activity service: is every event that waits of a fact, and, joined with metering, has every fact its one
charge? Reads only.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from activity_service.audit.charges_client import ChargesClient
from activity_service.audit.checks import (
    Charge,
    Pair,
    check_announced,
    check_pair,
    describe_parked,
    describe_waiting,
    pair_in_order,
)
from activity_service.audit.store import AuditStore
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from service_chassis.cli.audit_report import AuditReport, Finding
from service_chassis.database.pool import open_snapshot

KEPT_SUSPECTS = 1000
"""Pairs that look wrong at first and are read once more. A system with more of them is unsound beyond doubt."""


@dataclass(frozen=True, slots=True)
class AuditPlays:
    """Checks plays as they are at `now`; facts younger than `in_flight_seconds` may be on their way to metering."""

    pool: asyncpg.Pool
    now: datetime
    in_flight_seconds: float

    @property
    def _youngest(self) -> datetime:
        return self.now - timedelta(seconds=self.in_flight_seconds)

    async def check_outbox(self) -> AuditReport:
        """Check every event that is to be charged against its play.

        What waits to be settled for longer than is to be expected is listed. One snapshot; time in proportion to the
        plays, constant memory.
        """
        report = AuditReport("activity")
        async with open_snapshot(self.pool) as connection:
            store = AuditStore(connection)
            if facts := await store.count_facts():
                report.count("facts", facts)
            async for event in store.stream_announced():
                report.count("to be charged")
                report.add_violations(check_announced(event))
            async for waiting in store.stream_waiting(self._youngest):
                if waiting.parked_at is not None:
                    report.add_violations([describe_parked(waiting)])
                else:
                    report.add_unfinished([describe_waiting(waiting, self.now)])
        return report

    async def check_charges(self, charges: ChargesClient) -> AuditReport:
        """Join plays and charges, each without its twin a violation. Raises ChargesUnreadable.

        For a system in use: what looks wrong is read again, since plays come from one moment and charges from many.
        """
        report = AuditReport("plays and charges")
        suspects: list[Pair] = []
        async with open_snapshot(self.pool) as connection:
            facts = AuditStore(connection).stream_facts()
            previous = ""
            async for pair in pair_in_order(facts, keep_own(charges.stream_charges(), report)):
                fact, charge = pair
                report.count("pairs")
                if charge is not None and charge.event_id == previous:
                    twice = Finding("charged_twice", charge.event_id, "metering lists two charges of it")
                    report.add_violations([twice])
                elif fact is not None and charge is not None:
                    report.add_violations(check_pair(pair))
                elif fact is not None and fact.at > self._youngest:
                    report.count("in flight")
                elif len(suspects) < KEPT_SUSPECTS:
                    suspects.append(pair)
                else:
                    report.add_violations(check_pair(pair))
                previous = charge.event_id if charge is not None else previous
        for pair in await self._confirm(charges, suspects):
            report.add_violations(check_pair(pair))
        return report

    async def _confirm(self, charges: ChargesClient, suspects: list[Pair]) -> list[Pair]:
        """Return those of `suspects` that still lack their twin.

        A fact that waits in the outbox is not charged yet, and listed there. One that was settled since `_youngest`
        may have missed the list. One settled before should have been in it: its hold says settled, and the charge
        is gone.
        """
        orphans = [charge.event_id for _, charge in suspects if charge is not None]
        async with self.pool.acquire() as connection:
            store = AuditStore(connection)
            happened = {fact.event_id for fact in await store.list_facts(orphans)} if orphans else set()
            waiting = await store.list_waiting([fact.event_id for fact, _ in suspects if fact is not None])
        confirmed: list[Pair] = []
        for fact, charge in suspects:
            if fact is not None:
                if fact.event_id in waiting:
                    continue
                settled_at = await charges.fetch_settled_at(fact.client_id, fact.event_id)
                is_confirmed = settled_at is None or settled_at <= self._youngest
            else:
                is_confirmed = charge is not None and charge.event_id not in happened
            if is_confirmed:
                confirmed.append((fact, charge))
        return confirmed


async def keep_own(charges: AsyncIterator[Charge], report: AuditReport) -> AsyncIterator[Charge]:
    """Yield the charges of this service's facts; count the others."""
    async for charge in charges:
        if charge.event_type in OWN_EVENT_TYPES:
            yield charge
        else:
            report.count("charges of others")
