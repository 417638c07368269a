"""What the databases hold: how much is unresolved, and, at the end, all that the checker wants."""

from collections.abc import Sequence
from datetime import datetime

import aiohttp
import asyncpg

from activity_service.audit.run import AuditPlays
from activity_service.plays.idempotency import identify
from activity_service.plays.plan_play import Caller
from metering_client.charges_client import ChargesClient
from metering_service.audit.run import audit_ledger
from prove.history import Attempt
from service_chassis.cli.audit_report import Finding
from tests.faults.fault_stack import FaultStack
from tests.faults.reckoning import Books
from tests.faults.rows import CounterRow, GrantRow, HoldRow, PlayRow


async def fetch_rows(stack: FaultStack, attempts: Sequence[Attempt]) -> tuple[list[PlayRow], list[HoldRow], int]:
    """Return all plays, all holds, and how many holds were abandoned; keys are those of `attempts`."""
    keys = {
        identify(Caller(attempt.client_id, None), attempt.key, {}).play_id: attempt.key
        for attempt in attempts
        if attempt.key is not None
    }
    activity = await asyncpg.connect(stack.dsns["activity"])
    metering = await asyncpg.connect(stack.dsns["metering"])
    try:
        plays = await activity.fetch(
            "SELECT id::text, client_id, display_name, fingerprint IS NOT NULL, first_ended_at IS NOT NULL "
            "FROM plan_play"
        )
        abandoned = await activity.fetchval("SELECT count(*) FROM billable_event WHERE outcome = 'abandoned'")
        holds = await metering.fetch(
            "SELECT client_id, event_id, state, credits, held_at, closed_at, late, events, units, user_id "
            "FROM hold_history"
        )
    finally:
        await activity.close()
        await metering.close()
    rows = [
        PlayRow(play_id, client_id, marker, keys.get(play_id) if has_key else None, is_ended)
        for play_id, client_id, marker, has_key, is_ended in plays
    ]
    return rows, [HoldRow(*row) for row in holds], abandoned


_GRANTS = """
    SELECT g.client_id, g.kind, g.grant_id, g.credits, g.effective_at, g.expires_at, g.recurring_id, g.event_id,
           (SELECT min(l.at) FROM ledger_entry l
            WHERE l.client_id = g.client_id AND l.kind = 'void' AND l.reference = g.grant_id),
           (SELECT coalesce(-sum(l.credits), 0)::bigint FROM ledger_entry l
            WHERE l.client_id = g.client_id AND l.kind = 'expire' AND l.reference = g.grant_id
              AND l.at = g.expires_at)
    FROM credit_grant g
"""
_COUNTERS = "SELECT client_id, name, user_id, starts_at, used, held FROM counter"


async def fetch_books(stack: FaultStack, holds: Sequence[HoldRow]) -> Books:
    """Return what metering has, with every account moved on to its present moment, as a read of it does."""
    connection = await asyncpg.connect(stack.dsns["metering"])
    try:
        await connection.execute("SELECT lock_accounts(array_agg(client_id)) FROM account")
        grants = await connection.fetch(_GRANTS)
        counters = await connection.fetch(_COUNTERS)
        now = await connection.fetchval("SELECT utc_now()")
    finally:
        await connection.close()
    return Books(now, holds, [GrantRow(*row) for row in grants], [CounterRow(*row) for row in counters])


async def run_audits(stack: FaultStack, now: datetime) -> list[Finding]:
    """Run the product's own audits on the stack at rest, where nothing may be unfinished either.

    `now` is later than all there is, in anybody's time.
    """
    async with (
        asyncpg.create_pool(stack.dsns["activity"], min_size=0, max_size=2) as activity,
        asyncpg.create_pool(stack.dsns["metering"], min_size=0, max_size=2) as metering,
        aiohttp.ClientSession() as session,
    ):
        charges = ChargesClient(session, url=stack.url("metering"), key=stack.secrets["admin_key"])
        reports = [
            await audit_ledger(metering, now=now, unresolved_after_seconds=-3600),
            await AuditPlays(activity, now, -3600).check_outbox(),
            await AuditPlays(activity, now, -3600).check_charges(charges),
        ]
    findings = [
        Finding(f"6-{each.rule}", each.subject, each.detail) for report in reports for each in report.unfinished
    ]
    return findings + [
        Finding(f"2-{each.rule}", each.subject, each.detail) for report in reports for each in report.violations
    ]
