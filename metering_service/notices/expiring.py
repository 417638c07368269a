"""Note what no charge notes: grants about to expire."""

from datetime import timedelta

import asyncpg

from metering_service.accounts.grant_store import FIRST_EXPIRING, GrantStore
from metering_service.notices.store import NoticeStore

EXPIRING_WITHIN = timedelta(days=7)
"""How long before its expiry a grant is told of: there is a working day in it, for whoever would use it up or prolong
it. Of one that lives for less than four weeks, in the last quarter of its life."""
EXPIRY_INTERVAL_SECONDS = 3600.0
_GRANTS_A_ROUND = 500


async def note_expiring(pool: asyncpg.Pool) -> None:
    """Note each grant that expires soon, once, if something is left of it, and if it does not come again."""
    after = FIRST_EXPIRING
    while True:
        expiring = await GrantStore(pool).list_expiring(EXPIRING_WITHIN, after, _GRANTS_A_ROUND)
        for each in expiring:
            balance = await GrantStore(pool).fetch_balance(each.client_id)
            for grant in balance.grants if balance else ():
                if grant.number == each.number and grant.left:
                    data = {"grantId": grant.grant_id, "credits": grant.credits, "left": grant.left}
                    await NoticeStore(pool).insert_expiring(*each, data)
        if len(expiring) < _GRANTS_A_ROUND:
            return
        after = expiring[-1]
