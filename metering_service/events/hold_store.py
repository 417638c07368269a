"""Holds and their decisions in PostgreSQL: the only truth about quota and credits."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import orjson

from metering_service.events.event import (
    BillableEvent,
    Decision,
    EventState,
    HeldEvent,
    Receipt,
    Release,
    ReleasedEvent,
    SettledEvent,
    Settlement,
    find_repeated,
)
from metering_service.policies.policy import PolicyVersion
from metering_service.rates.limiter import RateOutcome
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed

Event = TypeVar("Event", BillableEvent, SettledEvent, ReleasedEvent)

CHARGING_SETTINGS: Mapping[str, str] = {
    # Plans are kept, and one made while a table was empty would read the whole of it for each batch until the next
    # ANALYZE. They are kept on purpose (plan_cache_mode): left alone, the server made a new one for every call,
    # since it takes an array of ten for granted where it does not know.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    # Somebody else's lock may cost a tenth of what callers wait for a decision.
    "lock_timeout": "200",
}
"""Server settings of the connections for this store's functions."""


class HoldStore:
    """The table `hold`, with the accounts and spends that go with it, through one connection that the caller holds.

    The rules run inside the database (metering_service/sql), under the clients' account locks, taken in one order
    everywhere. Closes: two processes that decide about one client at once, or wait for each other in a circle;
    whatever comes twice, in one call or in two. Each of the three functions comes in two forms: one statement for
    what is as it should be, and event after event for the rest. A call that failed between the two may be repeated.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _AUTHORIZE = "SELECT * FROM authorize_events($1, $2, $3, $4)"
    _AUTHORIZE_IN_TURN = "SELECT * FROM authorize_in_turn($1, $2, $3, $4)"

    async def authorize(
        self,
        events: Sequence[BillableEvent],
        versions: Sequence[PolicyVersion],
        rates: Sequence[RateOutcome],
        *,
        service: str,
        default_policy: str,
    ) -> list[Decision | None]:
        """Decide about `events`, and hold what is granted for `service`; return decisions in order.

        A decision is `stale` when the policy version is not the client's present one, and None where there is no
        policy at all.
        """
        items = [
            {
                "n": number,
                "hold_id": event.hold_id,
                "event_id": event.event_id,
                "client_id": event.client_id,
                "event_type": event.event_type,
                "user_id": event.user_id,
                "units": event.units,
                "resolve_within": event.resolve_within_seconds,
                "policy_id": version.policy_id,
                "policy_version": version.version,
                "rate_ok": not rate.wait_seconds,
                "rate_used": rate.used_before,
                "again": again,
            }
            for number, (event, version, rate, again) in enumerate(
                zip(events, versions, rates, find_repeated(events), strict=True)
            )
        ]
        terms = (service, default_policy)
        decisions: list[Decision | None] = [None] * len(events)
        for n, hold_id, held_at, credits, *terms_and_limits in await self._connection.fetch(
            self._AUTHORIZE, *_pack(items), *terms
        ):
            policy_id, version, mode, *limits = terms_and_limits
            receipt = Receipt(policy_id, version, mode, credits, *limits)
            decisions[n] = Decision(str(hold_id), "granted", held_at=held_at, receipt=receipt)
        left = [item for item, decision in zip(items, decisions, strict=True) if decision is None]
        if left:
            for row in await self._connection.fetch(self._AUTHORIZE_IN_TURN, *_pack(left), *terms):
                decisions[row["n"]] = _read_decision(row)
        return decisions

    _SETTLE = "SELECT * FROM settle_events($1, $2, $3)"
    _SETTLE_IN_TURN = "SELECT * FROM settle_in_turn($1, $2, $3, $4)"

    async def settle(
        self, events: Sequence[SettledEvent], *, service: str, default_policy: str
    ) -> list[Settlement | None]:
        """Charge `events`, each once for ever; return settlements in order, None where there is no policy at all."""
        items = [
            {
                "n": number,
                "hold_id": event.hold_id,
                "event_id": event.event_id,
                "client_id": event.client_id,
                "units": event.units,
                "event_type": event.event_type,
                "user_id": event.user_id,
                "happened_at": event.happened_at,
            }
            for number, event in enumerate(events)
        ]
        settlements: list[Settlement | None] = [None] * len(events)
        for n, credits, is_first in await self._connection.fetch(self._SETTLE, *_pack(items), service):
            settlements[n] = Settlement(events[n].hold_id, "settled", None, credits, late=False, is_first=is_first)
        left = [item for item, settlement in zip(items, settlements, strict=True) if settlement is None]
        if left:
            for n, state, code, hold_id, *outcome in await self._connection.fetch(
                self._SETTLE_IN_TURN, *_pack(left), service, default_policy
            ):
                settlements[n] = Settlement(str(hold_id), state, code, *outcome)
        return settlements

    _RELEASE = "SELECT * FROM release_holds($1, $2, $3)"

    async def release(self, events: Sequence[ReleasedEvent], *, service: str) -> list[Release | None]:
        """Give back the holds of `events`, no hold twice; return the state of each, in order."""
        items = [
            {"n": number, "hold_id": event.hold_id, "event_id": event.event_id, "client_id": event.client_id}
            for number, event in enumerate(events)
        ]
        releases: list[Release | None] = [None] * len(events)
        for n, state, code in await self._connection.fetch(self._RELEASE, *_pack(items), service):
            releases[n] = Release(state, code)
        return releases

    _LIST_LOCKED = """
        SELECT client_id FROM unnest($1::text[]) AS asked (client_id)
        WHERE client_id NOT IN (
            SELECT client_id FROM account WHERE client_id = ANY ($1) ORDER BY client_id FOR NO KEY UPDATE SKIP LOCKED)
    """

    async def list_locked(self, client_ids: Sequence[str]) -> set[str]:
        """Return those of `client_ids` whose account somebody else has locked now, or that have none yet."""
        return {client_id for (client_id,) in await self._connection.fetch(self._LIST_LOCKED, client_ids)}

    _RECEIPT = """
        r.policy_id, r.policy_version, v.mode, abs(r.credits), v.rate_burst, r.rate_used, v.quota_limit,
        r.taken_before, r.available_before, r.would_refuse
    """
    _FETCH_EVENT = f"""
        SELECT r.event_id, r.hold_id, 'settled', r.held_at, r.at, {_RECEIPT}, r.held_at IS NULL
        FROM ledger_entry r JOIN policy_version v ON v.policy_id = r.policy_id AND v.version = r.policy_version
        WHERE r.client_id = $1 AND r.event_id = $2 AND r.kind = 'spend'
        UNION ALL
        SELECT r.event_id, r.hold_id, 'held', r.held_at, NULL, {_RECEIPT}, false
        FROM hold r JOIN policy_version v ON v.policy_id = r.policy_id AND v.version = r.policy_version
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
            return EventState(event_id, hold_id, state, held_at, closed_at, Receipt(*receipt))
        row = await self._connection.fetchrow(self._FETCH_RELEASED, client_id, event_id)
        return EventState(*row) if row else None

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

    # Accounts first, as every writer: a settle that waits for a hold has the account already.
    _LOCK_ACCOUNT = "SELECT lock_accounts($1::text[])"
    _ERASE_FROM_HOLDS = "UPDATE hold SET user_id = '' WHERE client_id = $1 AND user_id = $2"
    _ERASE_FROM_LEDGER = "UPDATE ledger_entry SET user_id = '' WHERE client_id = $1 AND user_id = $2"

    async def erase_user(self, client_id: str, user_id: str) -> int:
        """Take a user's id out of all holds and charges of a client and return of how many, in a transaction.

        Reads all of the client's. Its decisions wait meanwhile; a repeated event that names the user is still the
        same.
        """
        await self._connection.execute(self._LOCK_ACCOUNT, [client_id])
        changed = 0
        for statement in (self._ERASE_FROM_HOLDS, self._ERASE_FROM_LEDGER):
            status = await self._connection.execute(statement, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
            changed += count_changed(status)
        return changed


def _pack(items: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return the functions' first parameters: events as one JSON text, which costs half of a list a column;
    clients.
    """
    return orjson.dumps(items).decode(), sorted({item["client_id"] for item in items})


def _read_decision(row: asyncpg.Record) -> Decision:
    _, decision, code, wait_seconds, hold_id, held_at, credits, policy_id, version, mode, *limits = row
    receipt = Receipt(policy_id, version, mode, credits, *limits) if decision == "granted" else None
    return Decision(str(hold_id), decision, code, wait_seconds, held_at, receipt)
