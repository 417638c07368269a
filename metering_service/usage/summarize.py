"""Sum up what a client may see of itself: a month's usage, prices, quotas and balance."""

from datetime import date, timedelta
from typing import Any

import asyncpg

from metering_service.accounts.administer import fetch_balance
from metering_service.accounts.quota import list_quotas
from metering_service.policies.policy import ANY_TYPE
from metering_service.policies.store import PolicyStore
from metering_service.usage.read import fetch_usage


async def summarize(pool: asyncpg.Pool, default_policy: str, client_id: str, month: date | None) -> dict[str, Any]:
    """Return, as JSON values, a client's usage of a month, and its prices, quotas and balance at present.

    A month is told as its first day, None for the present one. The prices are credits per unit by event type, as a
    policy has them; the balance is None where every event is free of credits. Raises LookupError when there is no
    default policy.
    """
    store = PolicyStore(pool)
    policy = (await store.list_of_clients([client_id], default_policy))[client_id].enforced.policy
    begin = month or (await store.fetch_now()).date().replace(day=1)
    end = (begin + timedelta(days=31)).replace(day=1)
    usage = await fetch_usage(pool, client_id, begin, end, window="month")
    is_paid = policy.credits != "unlimited"
    balance = await fetch_balance(pool, client_id) if is_paid else None
    quotas = await list_quotas(pool, default_policy, [client_id])
    return {
        "clientId": client_id,
        "month": f"{begin:%Y-%m}",
        "final": usage.is_final,
        "usage": [each.as_document("eventType") for each in usage.sums],
        "prices": policy.prices if is_paid else {ANY_TYPE: 0},
        "quotas": [each.as_document() for each in quotas[client_id]],
        "balance": balance and balance.as_document(),
    }
