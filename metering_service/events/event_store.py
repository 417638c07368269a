"""Where events stand, in PostgreSQL: looked up, and forgotten."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from metering_service.events.decision import ChargeLine, EventState, Receipt
from metering_service.events.event import HeldEvent
from metering_service.policies.store import read_terms
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store

RECEIPT_COLUMNS = """
    r.policy_id, r.policy_version, v.terms, r.event_type, r.units, abs(r.credits), r.rates_used, r.taken_before,
    r.available_before, r.would_refuse"""
"""What `read_receipt` takes, of a row `r` of hold or ledger_entry and its policy version `v`."""
OF_A_CHARGE = f"""
    {RECEIPT_COLUMNS}, r.held_at IS NULL, coalesce(r.at <= (
        SELECT upto FROM receipt_forgotten f WHERE f.client_id = r.client_id), false)"""
"""The same of a charge, to the end."""
OF_ITS_VERSION = "JOIN policy_version v ON v.policy_id = r.policy_id AND v.version = r.policy_version"


def read_receipt(policy_id: str, version: int, terms: str, *rest: Any) -> Receipt:
    """Return the receipt that RECEIPT_COLUMNS are, and after them whether it is late and whether it is forgotten."""
    return Receipt(policy_id, version, read_terms(terms), *rest)


class EventStore(Store):
    """The tables `hold` and `ledger_entry` as they are looked at, through one connection that the caller holds.

    Decisions and charges are written by HoldStore. Closes, with the account's lock: a user who is erased while a
    charge of theirs is written.
    """

    _FETCH_EVENT = f"""
        SELECT r.event_id, r.hold_id, 'settled', r.held_at, r.at, {OF_A_CHARGE}
        FROM ledger_entry r {OF_ITS_VERSION}
        WHERE r.client_id = $1 AND r.event_id = $2 AND r.kind = 'spend'
        UNION ALL
        SELECT r.event_id, r.hold_id, 'held', r.held_at, NULL, {RECEIPT_COLUMNS}, false, false
        FROM hold r {OF_ITS_VERSION}
        WHERE r.client_id = $1 AND r.event_id = $2 AND r.event_type IS NOT NULL
    """
    _FETCH_RELEASED = """
        SELECT event_id, hold_id, 'released', NULL::timestamptz, released_at, NULL
        FROM hold WHERE client_id = $1 AND event_id = $2 AND released_at IS NOT NULL
        ORDER BY released_at DESC LIMIT 1
    """

    async def fetch_event(self, client_id: str, event_id: str) -> EventState | None:
        """Return what stands for an event: its charge or live hold, else the last of its tombstones."""
        row = await self._connection.fetchrow(self._FETCH_EVENT, client_id, event_id)
        if row is not None:
            event_id, hold_id, state, held_at, closed_at, *receipt = row
            return EventState(event_id, hold_id, state, held_at, closed_at, read_receipt(*receipt))
        row = await self._connection.fetchrow(self._FETCH_RELEASED, client_id, event_id)
        return EventState(*row) if row else None

    # By the index ledger_entry_by_time, in its order.
    _LIST_CHARGES = f"""
        SELECT r.entry_id, r.at, r.event_id, nullif(r.user_id, ''), {OF_A_CHARGE}
        FROM ledger_entry r {OF_ITS_VERSION}
        WHERE r.client_id = $1 AND r.units IS NOT NULL AND r.at >= $2 AND r.at < $3 AND (r.at, r.entry_id) < ($4, $5)
        ORDER BY r.at DESC, r.entry_id DESC
        LIMIT $6
    """

    async def list_charges(
        self, client_id: str, since: datetime, until: datetime, before: tuple[datetime, int], limit: int
    ) -> list[ChargeLine]:
        """Return a client's charges from `since` up to `until`, newest first, from before (at, entry_id) on."""
        rows = await self._connection.fetch(self._LIST_CHARGES, client_id, since, until, *before, limit)
        return [
            ChargeLine(entry_id, at, event_id, user_id, read_receipt(*receipt))
            for entry_id, at, event_id, user_id, *receipt in rows
        ]

    _LIST_CLIENTS_OF = (
        "SELECT client_id FROM ledger_entry WHERE kind = 'spend' AND event_id = $1 ORDER BY client_id LIMIT $2"
    )

    async def list_clients_of(self, event_id: str, limit: int) -> list[str]:
        """Return the clients that were charged for an event of this id, which is each client's own."""
        return [client_id for (client_id,) in await self._connection.fetch(self._LIST_CLIENTS_OF, event_id, limit)]

    # Of an erased user nothing is told: '' stands in that place (erase_user).
    _LIST_HELD = """
        SELECT hold_id, event_id, client_id, event_type, nullif(user_id, '') AS user_id, units, held_at
        FROM hold
        WHERE released_at IS NULL AND ($1::text IS NULL OR service = $1) AND held_at <= utc_now() - $2::interval
          AND (held_at, hold_id) > ($3, $4)
        ORDER BY held_at, hold_id
        LIMIT $5
    """

    async def list_held(
        self, service: str | None, older_than: timedelta, after: tuple[datetime, UUID], limit: int
    ) -> list[HeldEvent]:
        """Return events that `service`, None for any, has not resolved, oldest first, from after (held_at,
        hold_id) on.
        """
        rows = await self._connection.fetch(self._LIST_HELD, service, older_than, *after, limit)
        return [HeldEvent(*row) for row in rows]

    # By the index of live holds, which begins with the oldest.
    _LIST_AGES = """
        SELECT extract(epoch FROM utc_now() - held_at)::float
        FROM hold WHERE held_at IS NOT NULL ORDER BY held_at, hold_id LIMIT $1
    """

    async def list_ages(self, limit: int) -> list[float]:
        """Return how old the oldest live holds are, in seconds, up to `limit` of them, the oldest first."""
        return [age for (age,) in await self._connection.fetch(self._LIST_AGES, limit)]

    _DELETE_EXPIRED = """
        DELETE FROM hold WHERE (client_id, hold_id) IN (
            SELECT client_id, hold_id FROM hold WHERE released_at < utc_now() - $1::interval
            LIMIT $2 FOR UPDATE SKIP LOCKED)
    """

    async def delete_expired(self, retention: timedelta, limit: int) -> int:
        """Forget holds that were released longer ago than `retention`, up to `limit` of them; return how many."""
        return count_changed(
            await self._connection.execute(self._DELETE_EXPIRED, retention, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
        )

    # By the index counter_by_end.
    _DELETE_ENDED = """
        DELETE FROM counter WHERE (client_id, counter_id) IN (
            SELECT client_id, counter_id FROM counter WHERE ends_at < utc_now() - $1::interval AND held = 0
            LIMIT $2 FOR UPDATE SKIP LOCKED)
    """

    async def delete_ended_counters(self, age: timedelta, limit: int) -> int:
        """Forget counters whose period ended longer ago than `age`, and in which nothing is held, up to `limit`.

        Returns how many. Nothing counts in them any more: a late charge counts in a period that still runs.
        """
        return count_changed(
            await self._connection.execute(self._DELETE_ENDED, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
        )

    # Accounts first, as every writer: a settle that waits for a hold has the account already.
    _LOCK_ACCOUNT = "SELECT lock_accounts($1::text[])"
    _ERASE_FROM_COUNTERS = "UPDATE counter SET user_id = '', is_erased = true WHERE client_id = $1 AND user_id = $2"
    _ERASE_FROM_HOLDS = "UPDATE hold SET user_id = '' WHERE client_id = $1 AND user_id = $2"
    _ERASE_FROM_LEDGER = "UPDATE ledger_entry SET user_id = '' WHERE client_id = $1 AND user_id = $2"

    async def erase_user(self, client_id: str, user_id: str) -> tuple[int, int]:
        """Take a user's id out of all holds and charges of a client, in a transaction.

        Returns of how many, and of how many counters.

        Its counters stay, and are nobody's. Reads all of the client's. Its decisions wait meanwhile; a repeated
        event that names the user is still the same.
        """
        await self._connection.execute(self._LOCK_ACCOUNT, [client_id])
        counters = count_changed(await self._connection.execute(self._ERASE_FROM_COUNTERS, client_id, user_id))
        changed = 0
        for statement in (self._ERASE_FROM_HOLDS, self._ERASE_FROM_LEDGER):
            status = await self._connection.execute(statement, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
            changed += count_changed(status)
        return changed, counters
