"""Holds and their decisions in PostgreSQL: the only truth about quota and credits."""

from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
import orjson

from metering_service.events.counting import CountedBatch, write_array
from metering_service.events.decision import Decision, Receipt
from metering_service.events.event import (
    BillableEvent,
    Release,
    ReleasedEvent,
    SettledEvent,
    Settlement,
    find_repeated,
)
from metering_service.policies.policy import ClientPolicies, Policy, PolicyVersion
from metering_service.policies.store import read_terms
from metering_service.rates.limiter import RateOutcome
from service_chassis.database.store import Store

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


class HoldStore(Store):
    """The table `hold`, with the accounts and spends that go with it, through one connection that the caller holds.

    The rules run inside the database (metering_service/sql), under the clients' account locks, taken in one order
    everywhere. Closes: two processes that decide about one client at once, or wait for each other in a circle;
    whatever comes twice, in one call or in two. Each of the three functions comes in two forms: one statement for
    what is as it should be, and event after event for the rest. A call that failed between the two may be repeated.
    """

    @property
    def connection(self) -> asyncpg.Connection:
        """What it works through, for what its caller reads beside it."""
        return self._connection

    _AUTHORIZE = "SELECT * FROM authorize_events($1, $2, $3, $4, $5)"
    _AUTHORIZE_IN_TURN = "SELECT * FROM authorize_in_turn($1, $2, $3, $4, $5)"

    async def authorize(
        self,
        events: Sequence[BillableEvent],
        policies: Sequence[ClientPolicies],
        rates: Sequence[RateOutcome],
        *,
        service: str,
        default_policy: str,
        in_turn: Container[str] = (),
    ) -> list[Decision | None]:
        """Decide about `events`, and hold what is granted for `service`; return decisions in order.

        A decision is `stale` when the policies are not the client's present ones, and None where there is none at
        all. Those of the clients `in_turn` are looked at one after the other at once: not all of theirs will fit.
        """
        batch = CountedBatch()
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
                "rate_ok": not rate.wait_seconds,
                "rates_used": None if rate.used_before is None else write_array(tuple(rate.used_before)),
                "again": again,
                "shadow_policy_id": shadow and shadow.policy_id,
                **batch.describe(version, event.client_id, event.event_type, event.user_id, event.units),
            }
            for number, (event, (version, shadow), rate, again) in enumerate(
                zip(events, policies, rates, find_repeated(events), strict=True)
            )
        ]
        terms = (service, default_policy, _as_json(batch.counters))
        decisions: list[Decision | None] = [None] * len(events)
        together = [item for item in items if item["client_id"] not in in_turn]
        for n, hold_id, held_at, taken_before, quota_resets, available in (
            await self._connection.fetch(self._AUTHORIZE, *_pack(together), *terms) if together else ()
        ):
            event, version = events[n], policies[n].enforced
            receipt = Receipt(
                *(version.policy_id, version.version, version.policy, event.event_type, event.units),
                *(items[n]["credits"], rates[n].used_before, taken_before, available),
            )
            decisions[n] = Decision(
                str(hold_id), "granted", held_at=held_at, receipt=receipt, quota_resets=quota_resets
            )
        left = [item for item, decision in zip(items, decisions, strict=True) if decision is None]
        if left:
            for n, *row in await self._connection.fetch(self._AUTHORIZE_IN_TURN, *_pack(left), *terms):
                decisions[n] = _read_decision(row, events[n].event_type, policies[n].enforced.policy)
        return decisions

    _SETTLE = "SELECT * FROM settle_events($1, $2, $3)"

    async def settle_held(self, events: Sequence[SettledEvent], *, service: str) -> list[Settlement | None]:
        """Charge those of `events` whose hold lives; return settlements in order, None of the others."""
        items = [
            {
                "n": number,
                "hold_id": event.hold_id,
                "event_id": event.event_id,
                "client_id": event.client_id,
                "units": event.units,
                "event_type": event.event_type,
                "user_id": event.user_id,
            }
            for number, event in enumerate(events)
        ]
        settlements: list[Settlement | None] = [None] * len(events)
        for n, credits in await self._connection.fetch(self._SETTLE, *_pack(items), service):
            settlements[n] = Settlement(events[n].hold_id, "settled", None, credits, late=False, is_first=True)
        return settlements

    _SETTLE_IN_TURN = "SELECT * FROM settle_in_turn($1, $2, $3, $4, $5)"

    async def settle_others(
        self,
        events: Sequence[SettledEvent],
        versions: Mapping[str, PolicyVersion],
        *,
        service: str,
        default_policy: str,
    ) -> list[Settlement | None]:
        """Charge `events` one after the other, each once for ever; return settlements in order.

        `versions` are the policies of those clients whose events are told whole. A settlement is `stale` where that
        is not the present one, and None where there is none at all.
        """
        batch = CountedBatch()
        items = []
        for number, event in enumerate(events):
            item: dict[str, Any] = {
                "n": number,
                "hold_id": event.hold_id,
                "event_id": event.event_id,
                "client_id": event.client_id,
                "units": event.units,
                "event_type": event.event_type,
                "user_id": event.user_id,
                "happened_at": event.happened_at,
            }
            version = versions.get(event.client_id)
            if event.event_type is not None and version is not None:
                item |= batch.describe(version, event.client_id, event.event_type, event.user_id, event.units or 0)
            items.append(item)
        settlements: list[Settlement | None] = [None] * len(events)
        for n, state, code, hold_id, *outcome in await self._connection.fetch(
            self._SETTLE_IN_TURN, *_pack(items), service, default_policy, _as_json(batch.counters)
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

    _FIND_LOCK_HOLDERS = """
        SELECT client_id, xmax::text FROM account WHERE client_id = ANY ($1) AND client_id NOT IN (
            SELECT client_id FROM account WHERE client_id = ANY ($1) ORDER BY client_id FOR NO KEY UPDATE SKIP LOCKED)
    """

    async def find_lock_holders(self, client_ids: Sequence[str]) -> dict[str, str]:
        """Return who has locked the accounts of `client_ids` now, as the transaction's id; nothing of the others."""
        return dict(await self._connection.fetch(self._FIND_LOCK_HOLDERS, client_ids))


def _pack(items: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return the functions' first parameters: events as one JSON text, which costs half of a list a column;
    clients.
    """
    return orjson.dumps(items).decode(), sorted({item["client_id"] for item in items})


def _as_json(counters: Sequence[Mapping[str, Any]] | None) -> str | None:
    return None if counters is None else orjson.dumps(counters).decode()


def _read_decision(row: Sequence[Any], event_type: str, policy: Policy) -> Decision:
    """Read a row of `authorize_in_turn` without its n; `policy` is what the caller knows, old grants have theirs."""
    word, code, wait_seconds, hold_id, held_at, credits, policy_id, policy_version, *stood = row
    rates_used, taken_before, quota_resets, available_before, would_refuse, terms, units = stood
    decision = Decision(
        str(hold_id), word, code, wait_seconds, held_at, quota_resets=quota_resets, is_new=terms is None
    )
    if word in ("granted", "denied"):
        decision.receipt = Receipt(
            *(policy_id, policy_version, policy if terms is None else read_terms(terms), event_type, units),
            *(credits or 0, rates_used, taken_before, available_before, would_refuse),
            is_denied=word == "denied",
        )
    return decision
