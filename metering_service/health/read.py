"""Look at how metering is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from metering_service.events.event import HeldEvent
from metering_service.events.event_store import EventStore
from metering_service.events.read import FIRST_HELD
from metering_service.events.watch import MAX_WATCHED_HOLDS, count_by_age
from metering_service.health.decisions import Outcome, WatchDecisions
from metering_service.notices.webhook_store import WebhookBacklog, WebhookStore
from metering_service.policies.store import PolicyStore
from service_chassis.database.admin_audit import AUDIT_TARGET, LAST_LINE, AdminAuditLine, AdminAuditStore

_OLDEST_HOLDS = 10
_LAST_CHANGES = 10


@dataclass(frozen=True, slots=True)
class Health:
    """How metering is `at` a moment. `decided` is of this process alone, a second, over `seconds`.
    `held` counts the oldest MAX_WATCHED_HOLDS by age, as the metric does.

    `audit` is the last run of the audit, None where there was none; `webhooks` what the `receivers` wait for.
    """

    at: datetime
    seconds: float
    decided: Mapping[Outcome, float]
    held: Mapping[str, int]
    oldest: Sequence[HeldEvent]
    receivers: Sequence[str]
    webhooks: WebhookBacklog
    audit: AdminAuditLine | None
    changes: Sequence[AdminAuditLine]


@dataclass(frozen=True, slots=True)
class ReadHealth:
    """Looks at this process and at the database."""

    pool: asyncpg.Pool
    watch: WatchDecisions
    receivers: Sequence[str]

    async def fetch(self) -> Health:
        """Return how metering is now."""
        seconds, decided = self.watch.measure()
        async with self.pool.acquire() as connection:
            trail = AdminAuditStore(connection)
            held = count_by_age(await EventStore(connection).list_ages(MAX_WATCHED_HOLDS))
            oldest = await EventStore(connection).list_held(None, timedelta(0), FIRST_HELD, _OLDEST_HOLDS)
            webhooks = await WebhookStore(connection).fetch_backlog(self.receivers)
            audits = await trail.list_lines(AUDIT_TARGET, LAST_LINE, 1)
            changes = await trail.list_lines(None, LAST_LINE, _LAST_CHANGES)
            now = await PolicyStore(connection).fetch_now()
        return Health(
            now, seconds, decided, held, oldest, self.receivers, webhooks, next(iter(audits), None), changes
        )
