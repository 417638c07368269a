"""Say what a draft of a policy would have made of the last days, before it is put in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import asyncpg

from metering_service.events.event import RATE_LIMITED
from metering_service.policies.policy import Policy
from metering_service.policies.store import PolicyStore
from metering_service.replay.replay import ClientReplay, find_start, group_by_hour, replay, sum_up
from metering_service.replay.store import ReplayStore
from service_chassis.database.pool import open_snapshot

REPLAYED_DAYS = 7
"""UTC days, today's among them."""
MOST_CLIENTS = 100
MOST_LINES = 2_000
"""Charges of one client that are replayed, and minutes of its refusals: the newest ones."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a draft would have made of the days since `since`: sums over all clients, and each client's.

    `is_cut`: the policy has more busy clients than were looked at. `rate_refusals` were refused by rates, which are
    not replayed.
    """

    since: date
    total: ClientReplay
    clients: Sequence[ClientReplay]
    is_cut: bool
    rate_refusals: int


async def preview_policy(pool: asyncpg.Pool, default_policy: str, policy_id: str, draft: Policy) -> Preview:
    """Replay the last days of the clients that have a policy now, at most MOST_CLIENTS, the busiest.

    One without a policy of its own has `default_policy`.
    """
    async with open_snapshot(pool) as connection:
        store = ReplayStore(connection)
        since = (await PolicyStore(connection).fetch_now()).date() - timedelta(days=REPLAYED_DAYS - 1)
        begin = datetime.combine(since, time(), UTC)
        found = await store.list_clients(policy_id, since, default_policy, MOST_CLIENTS + 1)
        client_ids = found[:MOST_CLIENTS]
        given = await store.list_given(client_ids, begin)
        available = await store.list_available(client_ids, since)
        for client_id, _, credits in given:
            available[client_id] -= credits
        used_before: dict[tuple[str, str], dict[str, tuple[int, int, int]]] = {}
        for period in {quota.period for quota in draft.quotas}:
            from_day = find_start(period, begin).date()
            used_before |= await store.list_used(client_ids, period, from_day, since)
        attempts = await store.list_attempts(
            client_ids,
            begin,
            by_user=any(quota.per == "user" for quota in draft.quotas),
            without_code=RATE_LIMITED,
            limit=MOST_LINES,
        )
        rate_refusals = await store.count_refused(client_ids, since, RATE_LIMITED)
    clients = replay(draft, attempts, begin, available, group_by_hour(given), used_before)
    clients.sort(
        key=lambda each: (-abs(each.draft_credits - each.credits), -sum(each.refused.values()), each.client_id)
    )
    return Preview(since, sum_up(clients), clients, len(found) > MOST_CLIENTS, rate_refusals)
