"""The details of charges' receipts in PostgreSQL, once they are old: what stood at each limit is forgotten."""

from datetime import timedelta

import asyncpg

from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS


class ReceiptStore:
    """The table `receipt_forgotten` and such columns of `ledger_entry`, through a connection that the caller holds.

    A line stays, with its event's id, its price and its day: what was charged is known for ever, and charged once.
    Whoever writes holds the account's lock, in a transaction.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _LIST_CLIENTS = "SELECT client_id FROM account WHERE client_id > $1 ORDER BY client_id LIMIT $2"

    async def list_clients(self, after: str, limit: int) -> list[str]:
        """Return clients by id, from after `after` on."""
        return [client_id for (client_id,) in await self._connection.fetch(self._LIST_CLIENTS, after, limit)]

    # The last moment of a batch of charges; all charges of one moment are in one batch. By the index
    # ledger_entry_by_time, between two moments.
    _FIND_NEXT = """
        SELECT max(at) FROM (
            SELECT at FROM ledger_entry
            WHERE client_id = $1 AND units IS NOT NULL AND at < utc_now() - $2::interval
              AND at > coalesce((SELECT upto FROM receipt_forgotten WHERE client_id = $1), '-infinity')
            ORDER BY at LIMIT $3) AS batch
    """

    async def has_older(self, client_id: str, age: timedelta) -> bool:
        """Return whether a client has receipts with details that are older than `age`."""
        return await self._connection.fetchval(self._FIND_NEXT, client_id, age, 1) is not None

    _FORGET = f"""
        WITH batch AS (
            {_FIND_NEXT.replace("max(at)", "max(at) AS upto")}
        ), noted AS (
            INSERT INTO receipt_forgotten AS f (client_id, upto)
            SELECT $1, upto FROM batch WHERE upto IS NOT NULL
            ON CONFLICT (client_id) DO UPDATE SET upto = excluded.upto
        )
        UPDATE ledger_entry
        SET rates_used = NULL, taken_before = NULL, overage = NULL, available_before = NULL
        FROM batch
        WHERE client_id = $1 AND units IS NOT NULL AND at <= batch.upto
          AND at > coalesce((SELECT upto FROM receipt_forgotten WHERE client_id = $1), '-infinity')
          AND num_nonnulls(rates_used, taken_before, overage, available_before) > 0
    """

    async def forget_details(self, client_id: str, age: timedelta, limit: int) -> None:
        """Forget the details of a locked client's oldest receipts that are older than `age`, some `limit` of them."""
        await self._connection.execute(self._FORGET, client_id, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
