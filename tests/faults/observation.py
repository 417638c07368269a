"""What the databases hold: how much is unresolved, and, at the end, all that the checker wants."""

from dataclasses import dataclass

import aiohttp
import asyncpg

from activity_service.audit.charges_client import ChargesClient
from activity_service.audit.run import AuditPlays
from metering_service.audit.run import audit_ledger
from service_chassis.cli.audit_report import Finding
from service_chassis.clock import system_clock
from tests.faults.checker import HoldRow, PlayRow
from tests.faults.fault_stack import FaultStack


@dataclass(frozen=True, slots=True)
class Unrest:
    """What is not at rest: facts not settled, facts parked, holds not closed."""

    unsettled: int
    parked: int
    held: int

    @property
    def is_rest(self) -> bool:
        """Whether nothing is under way any more."""
        return self.unsettled == 0 and self.held == 0


async def fetch_unrest(stack: FaultStack) -> Unrest:
    """Count what is under way. Raises OSError, TimeoutError or PostgresError while a server is away."""
    activity = await asyncpg.connect(stack.dsns["activity"], timeout=2)
    try:
        unsettled, parked = await activity.fetchrow(
            "SELECT count(*) FILTER (WHERE parked_at IS NULL), count(parked_at) FROM billable_event "
            "WHERE outcome = 'happened' AND settled_at IS NULL",
            timeout=5,
        )
    finally:
        activity.terminate()
    metering = await asyncpg.connect(stack.dsns["metering"], timeout=2)
    try:
        held = await metering.fetchval("SELECT count(*) FROM hold WHERE state = 'held'", timeout=5)
    finally:
        metering.terminate()
    return Unrest(unsettled, parked, held)


async def fetch_rows(stack: FaultStack) -> tuple[list[PlayRow], list[HoldRow], int]:
    """Return all plays, all holds, and how many holds a sweeper abandoned."""
    activity = await asyncpg.connect(stack.dsns["activity"])
    metering = await asyncpg.connect(stack.dsns["metering"])
    try:
        plays = await activity.fetch(
            "SELECT id::text, client_id, display_name, key, first_ended_at IS NOT NULL FROM plan_play "
            "LEFT JOIN (SELECT plan_play_id, key FROM idempotency_key) kept ON plan_play_id = id"
        )
        abandoned = await activity.fetchval("SELECT count(*) FROM billable_event WHERE outcome = 'abandoned'")
        holds = await metering.fetch(
            "SELECT client_id, event_id, state, credits, held_at, closed_at, late FROM hold "
            "WHERE client_id IS NOT NULL"
        )
    finally:
        await activity.close()
        await metering.close()
    return [PlayRow(*row) for row in plays], [HoldRow(*row) for row in holds], abandoned


async def run_audits(stack: FaultStack) -> list[Finding]:
    """Run the product's own audits on the stack at rest, where nothing may be unfinished either."""
    now = system_clock()
    async with (
        asyncpg.create_pool(stack.dsns["activity"], min_size=0, max_size=2) as activity,
        asyncpg.create_pool(stack.dsns["metering"], min_size=0, max_size=2) as metering,
        aiohttp.ClientSession() as session,
    ):
        charges = ChargesClient(session, url=stack.url("metering"), key=stack.secrets["admin_key"])
        reports = [
            await audit_ledger(metering, now=now, unresolved_after_seconds=-3600),
            await AuditPlays(activity, now, -3600).check_fences(),
            await AuditPlays(activity, now, -3600).check_charges(charges),
        ]
    findings = [
        Finding(f"6-{each.rule}", each.subject, each.detail) for report in reports for each in report.unfinished
    ]
    return findings + [
        Finding(f"2-{each.rule}", each.subject, each.detail) for report in reports for each in report.violations
    ]
