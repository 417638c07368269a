"""Accounts and the ledger: what was given, what was spent, line by line."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import asyncpg
import orjson

from metering_service.accounts.account import InsufficientCredits

ACQUIRE_TIMEOUT_SECONDS = 1.0


class AccountStore:
    """Reads accounts, and writes them inside a caller's transaction, under the account's lock."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def lock_account(self, connection: asyncpg.Connection, client_id: str, now: datetime) -> None:
        """Lock a client's account, making it if need be: decisions about this client wait."""
        await connection.execute("SELECT lock_accounts($1::text[], $2)", [client_id], now.date())

    _ASSIGN_POLICY = "UPDATE account SET policy_id = $2 WHERE client_id = $1"

    async def assign_policy(self, connection: asyncpg.Connection, client_id: str, policy_id: str) -> None:
        """Give a locked account a policy. Raises ForeignKeyViolationError when there is no such policy."""
        await connection.execute(self._ASSIGN_POLICY, client_id, policy_id)

    _INSERT_ENTRY = """
        INSERT INTO ledger_entry (client_id, kind, reference, credits, source, note, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (client_id, kind, reference) WHERE kind <> 'spend' DO NOTHING
        RETURNING entry_id, kind, reference, credits, event_id, event_type, source, note, late, at
    """
    _ADD_GRANTED = """
        UPDATE account SET granted = granted + $2
        WHERE client_id = $1 AND ($2::bigint > 0 OR granted - spent - held + $2 >= 0)
        RETURNING client_id
    """
    _FETCH_ENTRY = """
        SELECT entry_id, kind, reference, credits, event_id, event_type, source, note, late, at
        FROM ledger_entry WHERE client_id = $1 AND kind = $2 AND reference = $3 AND kind <> 'spend'
    """

    async def insert_entry(
        self,
        connection: asyncpg.Connection,
        client_id: str,
        *,
        kind: str,
        reference: str,
        credits: int,
        source: str | None,
        note: str | None,
        now: datetime,
    ) -> tuple[asyncpg.Record, bool]:
        """Write a grant or an adjustment to a locked account, once per reference.

        Answers the entry and whether it is new. Raises InsufficientCredits when it would take what is
        available below zero: the caller's transaction must then end.
        """
        entry = await connection.fetchrow(self._INSERT_ENTRY, client_id, kind, reference, credits, source, note, now)
        if entry is None:
            return await connection.fetchrow(self._FETCH_ENTRY, client_id, kind, reference), False
        if await connection.fetchval(self._ADD_GRANTED, client_id, credits) is None:
            raise InsufficientCredits
        return entry, True

    _FETCH_BALANCE = (
        "SELECT granted, spent, held, granted - spent - held AS available FROM account WHERE client_id = $1"
    )

    async def fetch_balance(self, client_id: str) -> asyncpg.Record | None:
        """Answer granted, spent, held and available in credits, read at one moment; None: never heard of."""
        rows = await self._fetch(self._FETCH_BALANCE, client_id)
        return rows[0] if rows else None

    _FETCH_QUOTA = """
        SELECT v.quota_limit, v.quota_period, a.counted_on, a.day_used, a.day_held, a.month_used, a.month_held
        FROM policy p
        JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        LEFT JOIN account a ON a.client_id = $1
        WHERE p.policy_id = coalesce(a.policy_id, $2)
    """

    async def fetch_quota(self, client_id: str, default_policy: str) -> asyncpg.Record:
        """Answer the client's quota terms beside its account's counters (null for a client never heard of)."""
        return (await self._fetch(self._FETCH_QUOTA, client_id, default_policy))[0]

    _LIST_LEDGER = """
        SELECT entry_id, kind, reference, credits, event_id, event_type, source, note, late, at
        FROM ledger_entry
        WHERE client_id = $1 AND entry_id > $2
        ORDER BY entry_id
        LIMIT $3
    """

    async def list_ledger(self, client_id: str, after: int, limit: int) -> list[asyncpg.Record]:
        """List a client's entries, oldest first, from after entry `after` on. A page never misses a later commit."""
        return await self._fetch(self._LIST_LEDGER, client_id, after, limit)

    # In the order of the index ledger_entry_event_once, which is the order of bytes.
    _LIST_CHARGES = """
        SELECT event_id, hold_id, client_id, event_type, credits, late, at
        FROM ledger_entry
        WHERE kind = 'spend' AND event_id COLLATE "C" > $1
        ORDER BY event_id COLLATE "C"
        LIMIT $2
    """

    async def list_charges(self, after: str, limit: int) -> list[asyncpg.Record]:
        """List all clients' spends by event id, from after event `after` on."""
        return await self._fetch(self._LIST_CHARGES, after, limit)

    _INSERT_AUDIT = "INSERT INTO admin_audit (at, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5)"

    async def insert_audit(
        self,
        connection: asyncpg.Connection,
        *,
        actor: str,
        action: str,
        target: str,
        detail: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Note who did what, in the transaction that does it."""
        await connection.execute(self._INSERT_AUDIT, now, actor, action, target, orjson.dumps(detail).decode())

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return cast("list[asyncpg.Record]", await connection.fetch(statement, *arguments))
