"""Audit the activity service: has every fact its fence, every key its play, and, joined with metering, every fact its
one charge? Reads only.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg

from activity_service.audit.charges_client import ChargesClient
from activity_service.audit.checks import (
    Charge,
    Pair,
    check_fences,
    check_key,
    check_pair,
    describe_parked,
    describe_waiting,
    pair_in_order,
)
from activity_service.audit.store import AuditStore, list_facts
from activity_service.billing.event import OWN_EVENT_TYPES
from service_chassis.cli.audit_report import AuditReport, Finding

KEPT_SUSPECTS = 1000
"""Pairs that look wrong at first and are read once more. A system with more of them is unsound beyond doubt."""


async def audit_fences(pool: asyncpg.Pool, *, now: datetime, in_flight_seconds: float) -> AuditReport:
    """Check every play against its fences, and every kept key against its play.

    What waits to be settled for longer than `in_flight_seconds` is listed. One snapshot; time in proportion to the
    plays, constant memory.
    """
    report = AuditReport("activity")
    async with AuditStore.open_snapshot(pool) as store:
        async for fact in store.stream_fenced_facts():
            report.count("facts")
            report.accuse(check_fences(fact))
        async for kept in store.stream_keys():
            report.count("keys")
            report.accuse(check_key(kept))
        async for waiting in store.stream_waiting(now - timedelta(seconds=in_flight_seconds)):
            if waiting.parked_at is not None:
                report.accuse([describe_parked(waiting)])
            else:
                report.mention([describe_waiting(waiting, now)])
    return report


async def audit_charges(
    pool: asyncpg.Pool, charges: ChargesClient, *, now: datetime, in_flight_seconds: float
) -> AuditReport:
    """Join plays and charges, each without its twin a violation. Raises ChargesUnreadable.

    For a system in use: facts younger than `in_flight_seconds` may be on their way to metering, and what looks
    wrong is read again, since plays come from one moment and charges from many.
    """
    report = AuditReport("plays and charges")
    youngest = now - timedelta(seconds=in_flight_seconds)
    suspects: list[Pair] = []

    async with AuditStore.open_snapshot(pool) as store:
        previous = ""
        async for pair in pair_in_order(store.stream_facts(), _own(charges.stream_charges(), report)):
            fact, charge = pair
            report.count("pairs")
            if charge is not None and charge.event_id == previous:
                report.accuse([Finding("charged_twice", charge.event_id, "metering lists two charges of it")])
            elif fact is not None and charge is not None:
                report.accuse(check_pair(pair))
            elif fact is not None and fact.at > youngest:
                report.count("in flight")
            elif len(suspects) < KEPT_SUSPECTS:
                suspects.append(pair)
            else:
                report.accuse(check_pair(pair))
            previous = charge.event_id if charge is not None else previous
    for pair in await _read_again(pool, charges, suspects, youngest):
        report.accuse(check_pair(pair))
    return report


async def _own(charges: AsyncIterator[Charge], report: AuditReport) -> AsyncIterator[Charge]:
    """Yield the charges of this service's facts; count the others."""
    async for charge in charges:
        if charge.event_type in OWN_EVENT_TYPES:
            yield charge
        else:
            report.count("charges of others")


async def _read_again(
    pool: asyncpg.Pool, charges: ChargesClient, suspects: list[Pair], youngest: datetime
) -> list[Pair]:
    """Answer those of `suspects` that still lack their twin.

    A fact that was settled since `youngest` may have missed the list. One settled before should have been in it: its
    hold says settled, and the charge is gone.
    """
    orphans = [charge.event_id for _, charge in suspects if charge is not None]
    happened = {fact.event_id for fact in await list_facts(pool, orphans)} if orphans else set()
    guilty: list[Pair] = []
    for fact, charge in suspects:
        if fact is not None:
            settled_at = await charges.fetch_settled_at(fact.event_id)
            is_guilty = settled_at is None or settled_at <= youngest
        else:
            is_guilty = charge is not None and charge.event_id not in happened
        if is_guilty:
            guilty.append((fact, charge))
    return guilty
