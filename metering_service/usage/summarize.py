"""Sum up what a client may see of itself: a month's usage, prices, quotas and balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asyncpg

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.grant import Balance
from metering_service.accounts.quota import ReadQuotas
from metering_service.policies.policy import ANY_TYPE
from metering_service.policies.store import PolicyStore
from metering_service.usage.read import ReadUsage
from metering_service.usage.usage import Usage


@dataclass(frozen=True, slots=True)
class ClientSummary:
    """A client's usage of a month, and its prices, quotas and balance at present, read one after the other.

    `prices` are credits per unit by event type, as a policy has them; `balance` is None where every event is free of
    credits.
    """

    month: date
    usage: Usage
    prices: Mapping[str, int]
    quotas: Sequence[QuotaUse]
    balance: Balance | None

    def as_document(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "clientId": self.usage.client_id,
            "month": f"{self.month:%Y-%m}",
            "final": self.usage.is_final,
            "usage": [each.as_document("eventType") for each in self.usage.sums],
            "prices": self.prices,
            "quotas": [each.as_document() for each in self.quotas],
            "balance": self.balance and self.balance.as_document(),
        }


@dataclass(frozen=True, slots=True)
class SummarizeClients:
    """Puts together what other use cases read."""

    pool: asyncpg.Pool
    usage: ReadUsage
    quotas: ReadQuotas
    accounts: AdministerAccounts
    default_policy: str

    async def summarize(self, client_id: str, month: date | None) -> ClientSummary:
        """Return a client's summary of a month, told as its first day, None for the present one.

        Raises LookupError when there is no default policy.
        """
        async with self.pool.acquire() as connection:
            store = PolicyStore(connection)
            policy = (await store.list_of_clients([client_id], self.default_policy))[client_id].enforced.policy
            begin = month or (await store.fetch_now()).date().replace(day=1)
        end = (begin + timedelta(days=31)).replace(day=1)
        usage = await self.usage.fetch(client_id, begin, end, window="month")
        is_paid = policy.credits != "unlimited"
        balance = (await self.accounts.fetch_balance(client_id) or Balance(client_id)) if is_paid else None
        prices = policy.prices if is_paid else {ANY_TYPE: 0}
        return ClientSummary(begin, usage, prices, await self.quotas.list_of(client_id, None), balance)
