"""Bugs put into the product on purpose, one at a time, to see whether the checker finds them.

Each undoes one rule of the protocol, from outside, in processes started through `tests.faults.service_process`;
some also undo what the schema does about it, or stand in a function of metering's database. The product knows nothing
of them.
"""

import asyncio
import functools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from metering_service.components import SCHEMA

WITHOUT_THE_FACT = """
    CREATE OR REPLACE FUNCTION billable_fact_exists(p_client_id text, p_event_id text) RETURNS boolean
    LANGUAGE sql STABLE AS 'SELECT false';
"""
"""Whoever gives up a hold does not ask for its fact: else a fact whose event was lost would be found, and charged."""

WITHOUT_ACCOUNT_LOCKS = """
    ALTER TABLE account DROP CONSTRAINT account_available;
    CREATE OR REPLACE FUNCTION lock_accounts(p_client_ids text[]) RETURNS timestamptz LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO account (client_id, last_at)
      SELECT DISTINCT id, utc_now() FROM unnest(p_client_ids) AS id
      ON CONFLICT DO NOTHING;
      RETURN utc_now();
    END $$;
    CREATE FUNCTION look_long() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.03); RETURN true; END $$;
"""
"""What a schema looks like whose author reads, decides, and then writes."""


def _mistake(function: str, right: str, wrong: str) -> str:
    """Return a statement that makes a mistake in a function of metering's."""
    text = SCHEMA.functions[function]
    if right not in text:
        raise LookupError(f"{function} has no {right!r}")
    return text.replace(right, wrong).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


DRAWN_AFTER_ITS_EXPIRY = _mistake(
    "find_next_moment", "ELSE expires_at END", "ELSE expires_at + interval '6 hours' END"
) + _mistake("move_account", "expires_at <= v_at)", "expires_at <= v_at - interval '6 hours')")
"""As of somebody whose midnight is another one."""
GIVEN_TWICE = _mistake(
    "move_account", "recurring_id || ':' || to_char(", "recurring_id || ':' || twice || ':' || to_char("
).replace("    FROM due\n", "    FROM due CROSS JOIN generate_series(1, 2) AS twice\n")
KEPT_BY_A_PARTIAL_SETTLE = _mistake(
    "settle_events",
    "count_for(c.counts, t.events, t.units, t.credits)",
    "count_for(c.counts, t.events, t.actual, t.price)",
)


@dataclass(frozen=True, slots=True)
class SeededBug:
    """One bug: `services` it is put into, `install` that does it, and what it takes away from the servers."""

    name: str
    services: tuple[str, ...]
    install: Callable[[], None]
    metering_sql: str = ""
    activity_sql: str = ""
    postgres_settings: tuple[tuple[str, str], ...] = ()


def install(name: str, service: str) -> None:
    """Put the bug into this process, if it is one for `service`; no name is no bug."""
    if name and service in SEEDED_BUGS[name].services:
        SEEDED_BUGS[name].install()


def _outbox_after_the_commit() -> None:
    from activity_service.plays.creation_store import Creation, CreationStore

    whole = CreationStore._INSERT
    begin, end = whole.index("INSERT INTO billable_event"), whole.index("), play AS")
    CreationStore._INSERT = f"{whole[:begin]}SELECT hold_id FROM item WHERE $2::interval > '0'\n{whole[end:]}"
    insert = CreationStore.insert_plan_plays
    statement = """
        INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at,
                                    next_attempt_at)
        VALUES ($1, $2, 'happened', $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING
    """

    async def insert_plan_plays(self: CreationStore, creations: Sequence[Creation], retention: timedelta) -> Any:
        stored = await insert(self, creations, retention)
        await asyncio.sleep(0.02)
        for creation in creations:
            event = creation.event
            columns = (event.hold_id, event.event_id, event.client_id, event.event_type, event.user_id, event.units)
            await self._connection.execute(statement, *columns, creation.play.created_at)
        return stored

    CreationStore.insert_plan_plays = insert_plan_plays  # type: ignore[method-assign]


def _hold_released_by_a_timer() -> None:
    from metering_client.sweeper import Sweeper

    async def run_once(self: Sweeper) -> None:
        page = await self.metering.list_held(self.older_than_seconds, None)
        if page.events:
            await self.metering.release(page.events)

    Sweeper.run_once = run_once  # type: ignore[method-assign]


def _release_on_an_unknown_commit() -> None:
    from activity_service.plays.create import CreatePlanPlays
    from activity_service.plays.creation_store import Creation

    insert_plan_plays = CreatePlanPlays._insert_plan_plays

    async def release_on_any_exception(self: CreatePlanPlays, creations: list[Creation]) -> Any:
        try:
            return await insert_plan_plays(self, creations)
        except Exception:
            await self._metering.release([creation.event for creation in creations])
            raise

    CreatePlanPlays._insert_plan_plays = release_on_any_exception  # type: ignore[method-assign]


def _new_event_id_per_attempt() -> None:
    from activity_service.plays import create as create_plan_play
    from activity_service.plays.plan_play import PLAY_CREATED, PlanPlay
    from metering_client.event import BillableEvent, start_attempt

    def play_created(play: PlanPlay) -> BillableEvent:
        return start_attempt(PLAY_CREATED, uuid.uuid4(), play.client_id, play.user_id)

    create_plan_play.play_created = play_created  # type: ignore[attr-defined]


def _open_when_metering_is_down() -> None:
    from metering_client.client import MeteringClient
    from metering_client.errors import MeteringUnavailable
    from metering_client.event import BillableEvent, Grant

    authorize = MeteringClient.authorize

    async def authorize_or_let_through(self: MeteringClient, event: BillableEvent) -> Grant:
        try:
            return await authorize(self, event)
        except MeteringUnavailable:
            return Grant(event.hold_id, datetime.now(UTC).isoformat())

    MeteringClient.authorize = authorize_or_let_through  # type: ignore[method-assign]


def _check_then_write() -> None:
    from metering_service.events.authorize import AuthorizeEvents
    from metering_service.events.event import BillableEvent
    from metering_service.events.hold_store import HoldStore
    from metering_service.events.isolation import Isolated

    # Decisions of several requests at once, as without the batches; each looks, thinks for a while, then writes.
    HoldStore._AUTHORIZE = f"{HoldStore._AUTHORIZE} WHERE look_long()"

    async def decide_at_once(
        self: AuthorizeEvents, events: Sequence[BillableEvent], *, service: str, until: float
    ) -> Any:
        alone: Isolated[Any, Any] = Isolated(self._pool, functools.partial(self._ask, service), "authorize")
        made = await asyncio.gather(*[self._decide_batch(alone, [(event, until)]) for event in events])
        return [decision for [decision] in made]

    AuthorizeEvents.authorize = decide_at_once  # type: ignore[method-assign]


def _refund_given_twice() -> None:
    from metering_service.accounts.grant_store import GrantStore

    async def sum_refunds(self: GrantStore, client_id: str, event_id: str) -> int:
        return 0

    GrantStore.sum_refunds = sum_refunds  # type: ignore[method-assign]


def _in_the_database() -> None:
    """Nothing in a process."""


def _synchronous_commit_off() -> None:
    from service_chassis.database import pool as postgres

    postgres._SERVER_SETTINGS["synchronous_commit"] = "off"


SEEDED_BUGS = {
    bug.name: bug
    for bug in (
        SeededBug("outbox-after-the-commit", ("activity",), _outbox_after_the_commit, activity_sql=WITHOUT_THE_FACT),
        SeededBug("hold-released-by-a-timer", ("activity",), _hold_released_by_a_timer),
        SeededBug("release-on-an-unknown-commit", ("activity",), _release_on_an_unknown_commit),
        SeededBug("new-event-id-per-attempt", ("activity",), _new_event_id_per_attempt),
        SeededBug("open-when-metering-is-down", ("activity",), _open_when_metering_is_down),
        SeededBug("check-then-write", ("metering",), _check_then_write, metering_sql=WITHOUT_ACCOUNT_LOCKS),
        SeededBug("drawn-after-its-expiry", (), _in_the_database, metering_sql=DRAWN_AFTER_ITS_EXPIRY),
        SeededBug("recurrence-made-twice", (), _in_the_database, metering_sql=GIVEN_TWICE),
        SeededBug("counter-kept-by-a-partial-settle", (), _in_the_database, metering_sql=KEPT_BY_A_PARTIAL_SETTLE),
        SeededBug("refund-given-twice", ("metering",), _refund_given_twice),
        SeededBug(
            "synchronous-commit-off",
            ("activity", "metering"),
            _synchronous_commit_off,
            # The writer that would make commits durable soon: its longest pause, for a window that is hit often.
            postgres_settings=(("wal_writer_delay", "10000"),),
        ),
    )
}
