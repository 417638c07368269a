"""Look at how metering is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from metering_service.events.event_store import EventStore
from metering_service.events.read import FIRST_HELD
from metering_service.events.watch import MAX_WATCHED_HOLDS, count_by_age
from metering_service.health.decisions import WatchDecisions
from metering_service.notices.webhook_store import WebhookStore
from metering_service.policies.store import PolicyStore
from service_chassis.database.admin_audit import AUDIT_TARGET, LAST_LINE, AdminAuditStore

_OLDEST_HOLDS = 10
_LAST_CHANGES = 10


async def read_health(pool: asyncpg.Pool, watch: WatchDecisions, receivers: Sequence[str]) -> dict[str, Any]:
    """Return how metering is `at` this moment, by name, as the page shows it.

    `decided` is of this process alone, a second, over `seconds`. `held` counts the oldest MAX_WATCHED_HOLDS by age,
    as the metric does, and `oldest` are the first of them. `webhooks` is what the `receivers` wait for. `audit` is
    the last run of the audit, None where there was none, `changes` are the last ones of the trail.
    """
    seconds, decided = watch.measure()
    async with pool.acquire() as connection:
        events, trail = EventStore(connection), AdminAuditStore(connection)
        return {
            "seconds": seconds,
            "decided": decided,
            "held": count_by_age(await events.list_ages(MAX_WATCHED_HOLDS)),
            "oldest": await events.list_held(None, timedelta(0), FIRST_HELD, _OLDEST_HOLDS),
            "receivers": receivers,
            "webhooks": await WebhookStore(connection).fetch_backlog(receivers),
            "audit": next(iter(await trail.list_lines(AUDIT_TARGET, LAST_LINE, 1)), None),
            "changes": await trail.list_lines(None, LAST_LINE, _LAST_CHANGES),
            "at": await PolicyStore(connection).fetch_now(),
        }
