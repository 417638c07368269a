"""Audit the activity service: what billing's own audit checks, and whether what waits names its play's user.

Reads only.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from activity_service.audit.store import AuditStore
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from metering_client.audit import AuditFacts
from metering_client.charges_client import ChargesClient
from metering_client.recharge import Recharged, recharge_facts
from service_chassis.cli.audit_report import AuditReport, Finding
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

    async def recharge(self, charges: ChargesClient, *, dry_run: bool) -> Recharged:
        """Have charged what lacks its charge, an erased user's without the user. Raises ChargesUnreadable."""
        async with open_snapshot(self.pool) as connection:
            facts = AuditStore(connection).stream_facts()
            return await recharge_facts(self._facts, facts, charges, dry_run=dry_run)
