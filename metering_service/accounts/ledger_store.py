"""Accounts and the ledger in PostgreSQL: what was given, what was spent, line by line."""

from datetime import datetime

import asyncpg

from metering_service.accounts.account import Balance, Charge, Counters, LedgerEntry
from metering_service.errors import InsufficientCredits, UnknownPolicy
from metering_service.policies.policy import Quota
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed

_COLUMNS = """entry_id, kind, reference, credits, event_id, event_type, source, note,
    kind = 'spend' AND held_at IS NULL AS late, at"""


class LedgerStore:
    """The tables `account` and `ledger_entry`, through one connection that the caller holds.

    Whoever writes holds the account's lock, in a transaction: what is written rests on what was read, and the numbers
    of a client's entries are the order in which they become visible, so that a page never misses a later commit.
    Spends are written by `settle_events`, under the same lock (events/hold_store.py).
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _LOCK_ACCOUNT = "SELECT lock_accounts($1::text[])"

    async def lock_account(self, client_id: str) -> None:
        """Lock a client's account, making it if need be: decisions about this client wait."""
        await self._connection.execute(self._LOCK_ACCOUNT, [client_id])

    _ASSIGN_POLICY = "UPDATE account SET policy_id = $2 WHERE client_id = $1"

    async def assign_policy(self, client_id: str, policy_id: str) -> None:
        """Give a locked account a policy. Raises UnknownPolicy."""
        try:
            await self._connection.execute(self._ASSIGN_POLICY, client_id, policy_id)
        except asyncpg.ForeignKeyViolationError:
            raise UnknownPolicy(policy_id) from None

    _INSERT_ENTRY = f"""
        INSERT INTO ledger_entry (client_id, kind, reference, credits, source, note, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (client_id, kind, reference) WHERE kind <> 'spend' DO NOTHING
        RETURNING {_COLUMNS}
    """
    _ADD_GRANTED = """
        UPDATE account SET granted = granted + $2
        WHERE client_id = $1 AND ($2::bigint > 0 OR granted - spent - held + $2 >= 0)
        RETURNING client_id
    """
    _FETCH_ENTRY = f"""
        SELECT {_COLUMNS}
        FROM ledger_entry WHERE client_id = $1 AND kind = $2 AND reference = $3 AND kind <> 'spend'
    """

    async def insert_entry(
        self,
        client_id: str,
        kind: str,
        reference: str,
        credits: int,
        *,
        source: str | None,
        note: str | None,
        now: datetime,
    ) -> tuple[LedgerEntry, bool]:
        """Write a grant or an adjustment to a locked account, once per reference; return it and whether it is new.

        Raises InsufficientCredits when it would take what is available below zero: the transaction must then end.
        """
        entry = await self._connection.fetchrow(
            self._INSERT_ENTRY, client_id, kind, reference, credits, source, note, now
        )
        if entry is None:
            return LedgerEntry(*await self._connection.fetchrow(self._FETCH_ENTRY, client_id, kind, reference)), False
        if await self._connection.fetchval(self._ADD_GRANTED, client_id, credits) is None:
            raise InsufficientCredits
        return LedgerEntry(*entry), True

    # What was counted at a moment to come is counted as of now: the counters are sums over ledger and live holds.
    _MEND_MOMENTS = """
        UPDATE account a
        SET last_at = utc_now(), counted_on = s.today,
            day_used = (SELECT count(*) FROM ledger_entry l
                        WHERE l.client_id = a.client_id AND l.kind = 'spend' AND l.counted_on = s.today),
            month_used = (SELECT count(*) FROM ledger_entry l
                          WHERE l.client_id = a.client_id AND l.kind = 'spend' AND l.counted_on >= s.month),
            day_held = (SELECT count(*) FROM hold h
                        WHERE h.client_id = a.client_id AND h.released_at IS NULL AND h.counted_on = s.today),
            month_held = (SELECT count(*) FROM hold h
                          WHERE h.client_id = a.client_id AND h.released_at IS NULL AND h.counted_on >= s.month)
        FROM (SELECT (utc_now() AT TIME ZONE 'UTC')::date AS today,
                     date_trunc('month', utc_now() AT TIME ZONE 'UTC')::date AS month) AS s
        WHERE a.client_id = $1 AND (a.last_at > utc_now() OR a.counted_on > s.today)
    """
    _MOVE_DAYS = (
        """
        UPDATE ledger_entry SET counted_on = (utc_now() AT TIME ZONE 'UTC')::date
        WHERE client_id = $1 AND counted_on > (utc_now() AT TIME ZONE 'UTC')::date
        """,
        """
        UPDATE hold SET counted_on = (utc_now() AT TIME ZONE 'UTC')::date, held_at = least(held_at, utc_now())
        WHERE client_id = $1 AND released_at IS NULL
          AND (counted_on > (utc_now() AT TIME ZONE 'UTC')::date OR held_at > utc_now())
        """,
    )

    async def mend_moments(self, client_id: str) -> bool:
        """Count as of now what a locked account, its entries and holds count as of a moment to come.

        Returns whether there was anything to mend.
        """
        for statement in self._MOVE_DAYS:
            await self._connection.execute(statement, client_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        status = await self._connection.execute(self._MEND_MOMENTS, client_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        return bool(count_changed(status))

    _LIST_AHEAD = "SELECT client_id FROM account WHERE last_at > utc_now() OR counted_on > utc_now()::date ORDER BY 1"

    async def list_ahead(self) -> list[str]:
        """Return the clients whose account was counted at a moment to come. Reads all accounts."""
        return [client_id for (client_id,) in await self._connection.fetch(self._LIST_AHEAD)]

    _FETCH_BALANCE = """
        SELECT client_id, granted, spent, held, granted - spent - held FROM account WHERE client_id = $1
    """

    async def fetch_balance(self, client_id: str) -> Balance | None:
        """Return what a client has, None for one never heard of."""
        row = await self._connection.fetchrow(self._FETCH_BALANCE, client_id)
        return row and Balance(*row)

    _FETCH_QUOTA = """
        SELECT v.quota_limit, v.quota_period, a.counted_on, a.day_used, a.day_held, a.month_used, a.month_held,
               utc_now() AS now
        FROM policy p
        JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        LEFT JOIN account a ON a.client_id = $1
        WHERE p.policy_id = coalesce(a.policy_id, $2)
    """

    async def fetch_quota(
        self, client_id: str, default_policy: str
    ) -> tuple[Quota | None, Counters | None, datetime]:
        """Return the terms of the client's quota and its account's counters, None where it has none, and the moment.

        Raises LookupError when there is no default policy.
        """
        row = await self._connection.fetchrow(self._FETCH_QUOTA, client_id, default_policy)
        if row is None:
            raise LookupError(f"no policy {default_policy}")
        limit, period, *counters, now = row
        return (
            Quota(limit, period) if limit is not None else None,
            Counters(*counters) if counters[0] is not None else None,
            now,
        )

    _LIST_ENTRIES = f"""
        SELECT {_COLUMNS}
        FROM ledger_entry
        WHERE client_id = $1 AND entry_id > $2
        ORDER BY entry_id
        LIMIT $3
    """

    async def list_entries(self, client_id: str, after: int, limit: int) -> list[LedgerEntry]:
        """Return a client's entries, oldest first, from after entry `after` on."""
        rows = await self._connection.fetch(self._LIST_ENTRIES, client_id, after, limit)
        return [LedgerEntry(*row) for row in rows]

    # In the order of the index ledger_entry_event_once, which is the order of bytes.
    _LIST_CHARGES = """
        SELECT event_id, hold_id, client_id, event_type, credits, held_at IS NULL, at
        FROM ledger_entry
        WHERE kind = 'spend' AND (event_id, client_id) > ($1, $2)
        ORDER BY event_id, client_id
        LIMIT $3
    """

    async def list_charges(self, after: tuple[str, str], limit: int) -> list[Charge]:
        """Return all clients' spends by event id and client id, from after those two of `after` on."""
        return [Charge(*row) for row in await self._connection.fetch(self._LIST_CHARGES, *after, limit)]
