"""The details of charges' receipts in PostgreSQL, once they are old: what stood at each limit is forgotten."""

from datetime import timedelta

from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS
from service_chassis.database.store import Store


class ReceiptStore(Store):
    """The table `receipt_forgotten` and such columns of `ledger_entry`, through a connection that the caller holds.

    A line stays, with its event's id, its price and its day: what was charged is known for ever, and charged once.
    Whoever writes holds the account's lock, in a transaction.
    """

    _LIST_CLIENTS = """
        SELECT a.client_id, EXISTS (
            SELECT FROM ledger_entry l
            WHERE l.client_id = a.client_id AND l.units IS NOT NULL AND l.at < utc_now() - $3::interval
              AND l.at > coalesce(f.upto, '-infinity'))
        FROM account a LEFT JOIN receipt_forgotten f ON f.client_id = a.client_id
        WHERE a.client_id > $1 ORDER BY a.client_id LIMIT $2
    """

    async def list_clients(self, after: str, limit: int, age: timedelta) -> list[tuple[str, bool]]:
        """Return clients by id, from after `after` on, and whether they have details that are older than `age`."""
        return [tuple(row) for row in await self._connection.fetch(self._LIST_CLIENTS, after, limit, age)]

    # A batch goes up to a moment, with all charges of that moment. By the index ledger_entry_by_time, between two.
    _FORGET = """
        WITH batch AS (
            SELECT max(at) AS upto FROM (
                SELECT at FROM ledger_entry
                WHERE client_id = $1 AND units IS NOT NULL AND at < utc_now() - $2::interval
                  AND at > coalesce((SELECT upto FROM receipt_forgotten WHERE client_id = $1), '-infinity')
                ORDER BY at LIMIT $3) AS oldest
        ), noted AS (
            INSERT INTO receipt_forgotten AS f (client_id, upto)
            SELECT $1, upto FROM batch WHERE upto IS NOT NULL
            ON CONFLICT (client_id) DO UPDATE SET upto = excluded.upto
        ), forgotten AS (
            UPDATE ledger_entry
            SET rates_used = NULL, taken_before = NULL, overage = NULL, available_before = NULL
            FROM batch
            WHERE client_id = $1 AND units IS NOT NULL AND at <= batch.upto
              AND at > coalesce((SELECT upto FROM receipt_forgotten WHERE client_id = $1), '-infinity')
              AND num_nonnulls(rates_used, taken_before, overage, available_before) > 0
        )
        SELECT upto IS NOT NULL FROM batch
    """

    async def forget_details(self, client_id: str, age: timedelta, limit: int) -> bool:
        """Forget the details of a locked client's oldest receipts that are older than `age`, some `limit` of them.

        Returns whether there were any.
        """
        return bool(
            await self._connection.fetchval(self._FORGET, client_id, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
        )
