"""Recharge: have facts charged that lack their charge, after metering was restored to an earlier moment."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from uuid_utils import uuid7

from activity_service.audit.charges_client import ChargesClient
from activity_service.audit.checks import Fact, pair_in_order
from activity_service.audit.run import keep_own
from activity_service.audit.store import AuditStore
from activity_service.billing.event import BillableEvent
from activity_service.billing.outbox_store import BATCH_EVENTS, OutboxStore
from activity_service.plays.plan_play import PSEUDONYM_PREFIX
from service_chassis.cli.audit_report import AuditReport
from service_chassis.database.pool import open_snapshot


@dataclass(slots=True)
class Recharged:
    """How many facts lack their charge, and how many of them were put into the outbox again."""

    uncharged: int = 0
    announced: int = 0


@dataclass(frozen=True, slots=True)
class RechargeFacts:
    """Holds facts against charges and puts those without one into the outbox, with a new hold id: they are charged
    late.

    Harmless twice, and for a fact that is charged meanwhile: an event is charged once. Facts younger than
    `in_flight_seconds` at `now` may be on their way.
    """

    pool: asyncpg.Pool
    now: datetime
    in_flight_seconds: float

    async def recharge(self, charges: ChargesClient, *, dry_run: bool) -> Recharged:
        """Find what lacks its charge and, unless it is a dry run, announce it. Raises ChargesUnreadable."""
        done = Recharged()
        async for facts in self._list_uncharged(charges):
            done.uncharged += len(facts)
            if not dry_run:
                async with self.pool.acquire() as connection:
                    done.announced += await OutboxStore(connection).insert_uncharged(
                        [_announce(fact) for fact in facts]
                    )
        return done

    async def _list_uncharged(self, charges: ChargesClient) -> AsyncIterator[list[Fact]]:
        youngest = self.now - timedelta(seconds=self.in_flight_seconds)
        batch: list[Fact] = []
        async with open_snapshot(self.pool) as connection:
            facts = AuditStore(connection).stream_facts()
            async for fact, charge in pair_in_order(
                facts, keep_own(charges.stream_charges(), AuditReport("recharge"))
            ):
                if fact is not None and charge is None and fact.at <= youngest:
                    batch.append(fact)
                if len(batch) == BATCH_EVENTS:
                    yield batch
                    batch = []
        if batch:
            yield batch


def _announce(fact: Fact) -> BillableEvent:
    # An erased user is nobody's to be told of.
    is_erased = fact.user_id is not None and fact.user_id.startswith(PSEUDONYM_PREFIX)
    return BillableEvent(
        str(uuid7()),
        fact.event_id,
        fact.client_id,
        fact.event_id.partition(":")[0],
        None if is_erased else fact.user_id,
        happened_at=fact.at,
    )
