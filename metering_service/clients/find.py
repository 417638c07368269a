"""Find clients among all, and see how one came to its balance."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import asyncpg

from metering_service.accounts.grant import Balance
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.quota import list_quotas
from metering_service.clients.client import PACE_DAYS, SEEN_DAYS, BalanceDay, ListedClient, Order, run_down
from metering_service.clients.store import ClientStore
from metering_service.policies.store import PolicyStore
from metering_service.usage.usage import Usage
from service_chassis.http.cursor import cut_page

_MOST = 2**63 - 1
FIRST: dict[Order, tuple[int, str]] = {
    "name": (0, ""),
    "spend": (_MOST, ""),
    "refusals": (_MOST, ""),
    "ending": (-1, ""),
}
"""Where a list of each order begins."""


async def find_clients(
    pool: asyncpg.Pool, default_policy: str, order: Order, part: str, after: tuple[int, str], limit: int
) -> tuple[Sequence[ListedClient], tuple[int, str] | None]:
    """Return a page of clients whose id has `part` in it, and where it ended if more follow.

    One without a policy of its own has `default_policy`. Raises LookupError when there is no such policy.
    """
    async with pool.acquire() as connection:
        store, policies = ClientStore(connection), PolicyStore(connection)
        today = (await policies.fetch_now()).date()
        since, pace_since = (today - timedelta(days=days - 1) for days in (SEEN_DAYS, PACE_DAYS))
        counted_since = pace_since if order == "ending" else since
        found, last = cut_page(await store.list_ordered(order, part, counted_since, after, limit + 1), limit)
        lines = await store.list_lines([client_id for client_id, _ in found], since, pace_since)
        client_ids = [line.client_id for line in lines]
        versions = await policies.list_of_clients(client_ids, default_policy)
    used = await list_quotas(pool, default_policy, client_ids)
    listed = [ListedClient(each, versions[each.client_id].enforced, used[each.client_id]) for each in lines]
    return listed, last and (last[1], last[0])


async def list_balance_days(pool: asyncpg.Pool, usage: Usage, balance: Balance) -> list[BalanceDay]:
    """Return how a client's balance came to be what it is, by each of the days of `usage`.

    What was spent stands on the day of its fact: a late charge in the past, too.
    """
    spent: dict[date, int] = defaultdict(int)
    for each in usage.sums:
        spent[each.window] += each.credits
    begin = datetime.combine(usage.from_day, time(), UTC)
    given = await LedgerStore(pool).list_given(usage.client_id, begin)
    days = [usage.from_day + timedelta(days=n) for n in range((usage.to_day - usage.from_day).days)]
    return run_down(days, balance.available + balance.held, spent, given)
