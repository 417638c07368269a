"""Audit the activity service: what billing's own audit checks, and whether what waits names its play's user.

Reads only. Beside it, what mends what it finds: each leaves its lines in the trail of changes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg

from activity_service.audit.store import AuditStore
from activity_service.errors import NotParked
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from metering_client.audit import AuditFacts
from metering_client.charges_client import ChargesClient
from metering_client.outbox_store import OutboxStore
from metering_client.recharge import Recharged, recharge_facts
from service_chassis.cli.audit_report import AuditReport, Finding
from service_chassis.clock import system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.pool import open_snapshot


@dataclass(frozen=True, slots=True)
class AuditPlays:
    """Checks plays as they are at `now`; facts younger than `in_flight_seconds` may be on their way to metering."""

    pool: asyncpg.Pool
    now: datetime
    in_flight_seconds: float

    @property
    def _facts(self) -> AuditFacts:
        return AuditFacts(self.pool, OWN_EVENT_TYPES, self.now, self.in_flight_seconds)

    async def check_outbox(self) -> AuditReport:
        """Check every event that is to be charged against its play.

        What waits to be settled for longer than is to be expected is listed. Time in proportion to the plays,
        constant memory.
        """
        report = AuditReport("activity")
        async with open_snapshot(self.pool) as connection:
            store = AuditStore(connection)
            if facts := await store.count_facts():
                report.count("facts", facts)
            async for event_id in store.stream_differing():
                report.add_violations([Finding("event_differs", event_id, "play and event name another user")])
        report.merge(await self._facts.check_outbox("activity"))
        return report

    async def check_charges(self, charges: ChargesClient) -> AuditReport:
        """Join plays and charges, each without its twin a violation. Raises ChargesUnreadable."""
        async with open_snapshot(self.pool) as connection:
            facts = AuditStore(connection).stream_facts()
            return await self._facts.check_charges("plays and charges", facts, charges)

    async def recharge(self, charges: ChargesClient, *, dry_run: bool, actor: str) -> Recharged:
        """Have charged what lacks its charge, an erased user's without the user. Raises ChargesUnreadable."""
        async with open_snapshot(self.pool) as connection:
            facts, note = AuditStore(connection).stream_facts(), partial(_note, "recharge", actor)
            return await recharge_facts(self._facts, facts, charges, dry_run=dry_run, note=note)


async def redrive(pool: asyncpg.Pool, hold_ids: Sequence[UUID] | None, *, actor: str) -> int:
    """Have parked events sent again, all of them without `hold_ids`; return how many. Raises NotParked."""
    async with pool.acquire() as connection, connection.transaction():
        redriven = await OutboxStore(connection).redrive_parked(hold_ids)
        if missing := sorted(set(hold_ids or ()) - redriven.keys()):
            raise NotParked(missing)
        await _note("redrive", actor, connection, redriven.values())
        return len(redriven)


async def _note(action: str, actor: str, connection: asyncpg.Connection, client_ids: Iterable[str]) -> None:
    """Leave a line for each client, with how many of its events there are."""
    for client_id, count in sorted(Counter(client_ids).items()):
        await AdminAuditStore(connection).insert_line(system_clock(), actor, action, client_id, events=count)
