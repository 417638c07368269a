"""Accounts and the ledger in PostgreSQL: what was given, what was spent, line by line."""

from collections.abc import Sequence
from datetime import date, datetime
from difflib import get_close_matches

import orjson

from metering_service.accounts.account import Charge, LedgerEntry, QuotaUse
from metering_service.errors import ClientNotFound
from metering_service.policies.policy import Quota
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store

_COLUMNS = """entry_id, kind, reference, credits, event_id, event_type, source, note,
    kind = 'spend' AND held_at IS NULL AS late, at, nullif(user_id, '') AS user_id, units, counted_on AS day,
    posted_at, coalesce(actor, service) AS actor"""


class LedgerStore(Store):
    """The tables `account` and `ledger_entry`, through one connection that the caller holds.

    Whoever writes holds the account's lock, in a transaction: what is written rests on what was read, and the numbers
    of a client's entries are the order in which they become visible, so that a page never misses a later commit.
    Spends are written by `settle_events`, under the same lock (events/hold_store.py).
    """

    _LOCK_ACCOUNT = "SELECT lock_accounts($1::text[])"
    _FETCH_MOMENT = "SELECT greatest(utc_now(), last_at) FROM account WHERE client_id = $1"

    async def lock_account(self, client_id: str) -> datetime:
        """Lock a client's account, making it if need be, move it on, and return its moment: decisions wait."""
        await self._connection.execute(self._LOCK_ACCOUNT, [client_id])
        moment: datetime = await self._connection.fetchval(self._FETCH_MOMENT, client_id)
        return moment

    _IS_KNOWN = "SELECT EXISTS (SELECT FROM account WHERE client_id = $1)"
    _LIST_ALIKE = "SELECT client_id FROM account WHERE abs(length(client_id) - length($1)) <= 2 LIMIT 100000"

    async def require_known(self, client_id: str) -> None:
        """Raise ClientNotFound, with the known id that is most alike, for a client that nobody ever named."""
        if await self._connection.fetchval(self._IS_KNOWN, client_id):
            return
        alike = [known for (known,) in await self._connection.fetch(self._LIST_ALIKE, client_id)]
        raise ClientNotFound(client_id, next(iter(get_close_matches(client_id, alike, 1)), None))

    _NOTE_MOMENT = "UPDATE account SET last_at = greatest(last_at, utc_now()) WHERE client_id = $1"

    async def note_moment(self, client_id: str) -> None:
        """Let no later decision about a locked account be made as of before now."""
        await self._connection.execute(self._NOTE_MOMENT, client_id)

    _TAKE_ADJUSTED = """
        WITH taken AS (
            UPDATE account a SET adjusted = adjusted - $3 WHERE client_id = $1 AND a.available >= $3
            RETURNING client_id
        )
        INSERT INTO ledger_entry (client_id, kind, reference, credits, note, actor, at)
        SELECT client_id, 'adjust', $2, -$3::bigint, $4, $5, $6 FROM taken
        RETURNING entry_id
    """

    async def take_adjusted(
        self, client_id: str, reference: str, credits: int, *, reason: str, actor: str, now: datetime
    ) -> bool:
        """Correct what a locked account has down; return whether so many credits were available."""
        arguments = (client_id, reference, credits, reason, actor, now)
        return await self._connection.fetchval(self._TAKE_ADJUSTED, *arguments) is not None

    _FETCH_ENTRY = f"""
        SELECT {_COLUMNS} FROM ledger_entry
        WHERE client_id = $1 AND kind = $2 AND reference = $3 AND kind IN ('grant', 'refund', 'adjust')
    """

    async def fetch_entry(self, client_id: str, kind: str, reference: str) -> LedgerEntry | None:
        """Return the line of a grant, a refund or an adjustment, None where there is none."""
        row = await self._connection.fetchrow(self._FETCH_ENTRY, client_id, kind, reference)
        return row and LedgerEntry(*row)

    _FETCH_CHARGED = "SELECT -credits FROM ledger_entry WHERE client_id = $1 AND event_id = $2 AND kind = 'spend'"

    async def fetch_charged_credits(self, client_id: str, event_id: str) -> int | None:
        """Return what an event was charged, None for one that was not."""
        charged: int | None = await self._connection.fetchval(self._FETCH_CHARGED, client_id, event_id)
        return charged

    # What was counted at a moment to come is counted as of now.
    _MOVE_COUNTERS = """
        WITH ahead AS (
            SELECT c.counter_id, c.name, c.rule, c.counts, c.user_id, c.is_erased, c.used, c.held,
                   p.starts_at, p.ends_at
            FROM counter c
            LEFT JOIN LATERAL find_assignment($1, utc_now()) AS s ON split_part(c.rule, ' ', 3) = 'assigned'
            CROSS JOIN LATERAL find_period(split_part(c.rule, ' ', 2), s.anchored_at, utc_now()) AS p
            WHERE c.client_id = $1 AND c.starts_at > utc_now()
        ), gone AS (
            DELETE FROM counter WHERE client_id = $1 AND counter_id IN (SELECT counter_id FROM ahead)
        ), present AS (
            INSERT INTO counter AS c (client_id, name, rule, counts, user_id, starts_at, ends_at, used, held)
            SELECT $1, name, rule, counts, user_id, starts_at, ends_at, sum(used), sum(held) FROM ahead
            WHERE NOT is_erased GROUP BY name, rule, counts, user_id, starts_at, ends_at
            ON CONFLICT (client_id, name, rule, user_id, starts_at) WHERE NOT is_erased
            DO UPDATE SET used = c.used + excluded.used, held = c.held + excluded.held
            RETURNING name, rule, user_id, starts_at, counter_id
        )
        SELECT array_agg(a.counter_id), array_agg(p.counter_id)
        FROM ahead a LEFT JOIN present p
          ON (p.name, p.rule, p.user_id, p.starts_at) = (a.name, a.rule, a.user_id, a.starts_at)
    """
    _POINT_AT_COUNTERS = """
        UPDATE {table} SET counter_ids = (
            SELECT array_agg(coalesce(($3::bigint[])[array_position($2::bigint[], each)], each) ORDER BY place)
            FROM unnest(counter_ids) WITH ORDINALITY AS of_line (each, place))
        WHERE client_id = $1 AND counter_ids && $2
    """
    _MOVE_DAYS = (
        """
        UPDATE ledger_entry SET counted_on = (utc_now() AT TIME ZONE 'UTC')::date
        WHERE client_id = $1 AND counted_on > (utc_now() AT TIME ZONE 'UTC')::date
        """,
        """
        UPDATE hold SET counted_on = (utc_now() AT TIME ZONE 'UTC')::date, held_at = least(held_at, utc_now()),
                        resolve_by = least(resolve_by, utc_now() + (resolve_by - held_at))
        WHERE client_id = $1 AND released_at IS NULL
          AND (counted_on > (utc_now() AT TIME ZONE 'UTC')::date OR held_at > utc_now())
        """,
        """
        WITH gone AS (
            DELETE FROM usage WHERE client_id = $1 AND day > (utc_now() AT TIME ZONE 'UTC')::date RETURNING *)
        INSERT INTO usage AS u (client_id, day, event_type, charged, units, credits, overage, last_at)
        SELECT client_id, (utc_now() AT TIME ZONE 'UTC')::date, event_type, sum(charged), sum(units), sum(credits),
               sum(overage), utc_now()
        FROM gone GROUP BY client_id, event_type
        ON CONFLICT (client_id, day, event_type) DO UPDATE
        SET charged = u.charged + excluded.charged, units = u.units + excluded.units,
            credits = u.credits + excluded.credits, overage = u.overage + excluded.overage, last_at = excluded.last_at
        """,
    )
    _MEND_MOMENT = "UPDATE account SET last_at = utc_now() WHERE client_id = $1 AND last_at > utc_now()"

    async def mend_moments(self, client_id: str) -> bool:
        """Count as of now what a locked account, its counters, entries and holds count as of a moment to come.

        Returns whether there was anything to mend.
        """
        from_ids, to_ids = await self._connection.fetchrow(
            self._MOVE_COUNTERS, client_id, timeout=OPERATOR_TIMEOUT_SECONDS
        )
        if from_ids:
            for table in ("ledger_entry", "hold"):
                await self._connection.execute(
                    self._POINT_AT_COUNTERS.format(table=table),
                    *(client_id, from_ids, to_ids),
                    timeout=OPERATOR_TIMEOUT_SECONDS,
                )
        for statement in self._MOVE_DAYS:
            await self._connection.execute(statement, client_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        status = await self._connection.execute(self._MEND_MOMENT, client_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        return bool(count_changed(status)) or bool(from_ids)

    _LIST_AHEAD = """
        SELECT client_id FROM account WHERE last_at > utc_now()
        UNION SELECT client_id FROM counter WHERE starts_at > utc_now() ORDER BY 1
    """

    async def list_ahead(self) -> list[str]:
        """Return the clients whose account was counted at a moment to come. Reads all accounts."""
        return [client_id for (client_id,) in await self._connection.fetch(self._LIST_AHEAD)]

    _LIST_QUOTAS = "SELECT starts_at, ends_at, used, held FROM find_counters($1, $2, utc_now()) ORDER BY k"

    async def list_quotas(self, asked: Sequence[tuple[str, str | None, Quota]]) -> list[QuotaUse]:
        """Return how much of each quota its client, of one per user the user, has used in its present period."""
        counters = [
            {
                "k": number,
                "client_id": client_id,
                "name": quota.name,
                "rule": quota.rule,
                "period": quota.period,
                "anchor": quota.anchor,
                "user_id": user_id if quota.per == "user" else "",
            }
            for number, (client_id, user_id, quota) in enumerate(asked)
        ]
        rows = await self._connection.fetch(
            self._LIST_QUOTAS, orjson.dumps(counters).decode(), sorted({client_id for client_id, _, _ in asked})
        )
        return [QuotaUse(quota, *row) for (_, _, quota), row in zip(asked, rows, strict=True)]

    # By the index ledger_entry_given.
    _LIST_GIVEN = """
        SELECT (at AT TIME ZONE 'UTC')::date AS day, kind, sum(credits)::bigint FROM ledger_entry
        WHERE client_id = $1 AND actor IS NOT NULL AND at >= $2
        GROUP BY day, kind ORDER BY day, kind
    """

    async def list_given(self, client_id: str, since: datetime) -> list[tuple[date, str, int]]:
        """Return what a client was given and lost without an event, by UTC day and kind of line, signed."""
        return [tuple(row) for row in await self._connection.fetch(self._LIST_GIVEN, client_id, since)]

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

    _LIST_LAST_ENTRIES = f"SELECT {_COLUMNS} FROM ledger_entry WHERE client_id = $1 ORDER BY entry_id DESC LIMIT $2"

    async def list_last_entries(self, client_id: str, limit: int) -> list[LedgerEntry]:
        """Return a client's last entries, newest first."""
        return [LedgerEntry(*row) for row in await self._connection.fetch(self._LIST_LAST_ENTRIES, client_id, limit)]

    # In the order of the index ledger_entry_event_once, which is the order of bytes.
    _LIST_CHARGES = """
        SELECT event_id, hold_id, client_id, event_type, units, credits, held_at IS NULL, at
        FROM ledger_entry
        WHERE kind = 'spend' AND (event_id, client_id) > ($1, $2)
        ORDER BY event_id, client_id
        LIMIT $3
    """

    async def list_charges(self, after: tuple[str, str], limit: int) -> list[Charge]:
        """Return all clients' spends by event id and client id, from after those two of `after` on."""
        return [Charge(*row) for row in await self._connection.fetch(self._LIST_CHARGES, *after, limit)]
