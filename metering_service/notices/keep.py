"""Note what no charge notes: grants about to expire. And forget what is old."""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from metering_service.accounts.grant_store import FIRST_EXPIRING, Expiring, GrantStore
from metering_service.notices.store import NoticeStore
from service_chassis.database.rounds import delete_in_rounds

EXPIRING_WITHIN = timedelta(days=7)
"""How long before its expiry a grant is told of: there is a working day in it, for whoever would use it up or prolong
it. Of one that lives for less than four weeks, in the last quarter of its life."""
EXPIRY_INTERVAL_SECONDS = 3600.0
KEPT = timedelta(days=35)
"""As long as refusals: what was told last month can still be asked for and sent again."""
FORGET_NOTICES_INTERVAL_SECONDS = 3600.0
_GRANTS_A_ROUND = 500
_FORGOTTEN_A_ROUND = 5_000


@dataclass(frozen=True, slots=True)
class KeepNotices:
    """The work on notices that no request does."""

    pool: asyncpg.Pool

    async def note_expiring(self) -> None:
        """Note each grant that expires soon, once, if something is left of it, and if it does not come again."""
        after = FIRST_EXPIRING
        while True:
            async with self.pool.acquire() as connection:
                expiring = await GrantStore(connection).list_expiring(EXPIRING_WITHIN, after, _GRANTS_A_ROUND)
            for each in expiring:
                await self._note(each)
            if len(expiring) < _GRANTS_A_ROUND:
                return
            after = expiring[-1]

    async def _note(self, expiring: Expiring) -> None:
        async with self.pool.acquire() as connection:
            balance = await GrantStore(connection).fetch_balance(expiring.client_id)
            for grant in balance.grants if balance else ():
                if grant.number == expiring.number and grant.left:
                    data = {"grantId": grant.grant_id, "credits": grant.credits, "left": grant.left}
                    await NoticeStore(connection).insert_expiring(*expiring, data)

    async def forget_old(self) -> None:
        """Delete notices that are older than 35 days and cannot come again, with what became of sending them."""
        await delete_in_rounds(
            self.pool, lambda connection, limit: NoticeStore(connection).delete_old(KEPT, limit), _FORGOTTEN_A_ROUND
        )
