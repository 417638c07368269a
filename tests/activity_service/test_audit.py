"""The audits: silent about a sound system, in use or at rest, and loud about each way in which one can be unsound.

Long because each way in which the books can be wrong is put there by hand.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import psycopg
import pytest
from typer.testing import CliRunner

from activity_service.audit.run import AuditPlays
from activity_service.cli.main import commands
from metering_client.audit import pair_in_order
from metering_client.charges_client import Charge, ChargesClient
from metering_client.errors import ChargesUnreadable, OutOfOrder
from metering_client.event import Fact
from service_chassis.cli.audit_report import AuditReport, Finding
from tests.activity_service.conftest import Run
from tests.conftest import FreshDatabase
from tests.metering_service.conftest import (  # noqa: F401 - fixtures
    ADMIN_KEY,
    Metering,
    clock,
    event,
    metering,
    metering_dsn,
    start_metering,
)

NOW = datetime(2026, 3, 31, 22, 0, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)

INSERT_PLAY = """
    INSERT INTO plan_play (id, client_id, plan_id, status, planned_lessons, current_lesson_index, completed_lessons,
                           completed_lesson_plays, total_lessons_completed, created_at, updated_at, first_ended_at)
    VALUES ($1, 'acme', 'p', 'active', '{}', 0, '{}', '{}', 0, $2, $2, $3)
"""
INSERT_FENCE = """
    INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
    VALUES (gen_random_uuid(), $1, 'happened', 'acme', split_part($1, ':', 1), 1, $2, $2)
"""


@pytest.fixture
async def pool(activity_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(activity_dsn, min_size=0, max_size=2) as pool:
        yield pool


async def add_play(
    pool: asyncpg.Pool,
    *,
    at: datetime = OLD,
    is_ended: bool = False,
    is_waiting: bool = False,
) -> list[str]:
    """Add a play, its events waiting in the outbox or gone from there; return the event ids of its facts."""
    play_id = uuid.uuid4()
    facts = [f"plan_play.created:{play_id}"] + [f"plan_play.completed:{play_id}"] * is_ended
    await pool.execute(INSERT_PLAY, play_id, at, at if is_ended else None)
    for fact in facts if is_waiting else ():
        await pool.execute(INSERT_FENCE, fact, at)
    return facts


def rules(report: AuditReport) -> list[str]:
    return sorted(finding.rule for finding in report.violations)


async def audit(pool: asyncpg.Pool) -> AuditReport:
    return await AuditPlays(pool, NOW, 60).check_outbox()


async def test_plays_with_what_waits_of_them_are_sound(pool: asyncpg.Pool) -> None:
    await add_play(pool)
    await add_play(pool, at=NOW, is_ended=True, is_waiting=True)
    report = await audit(pool)
    assert (report.is_sound, report.unfinished_count) == (True, 0)
    assert report.checked == {"facts": 3, "to be charged": 2}


TAMPERINGS = {
    "fact_missing": "UPDATE plan_play SET first_ended_at = NULL",
    "event_differs": "UPDATE billable_event SET user_id = 'other' WHERE event_type = 'plan_play.created'",
    "parked": "UPDATE billable_event SET parked_at = now(), last_error = 'state conflict' "
    "WHERE event_type = 'plan_play.created'",
}


@pytest.mark.parametrize("rule", TAMPERINGS)
async def test_each_kind_of_damage_is_found(pool: asyncpg.Pool, rule: str) -> None:
    await add_play(pool, is_ended=True, is_waiting=True)
    await pool.execute(TAMPERINGS[rule])
    assert rules(await audit(pool)) == [rule]


async def test_what_waits_is_unfinished_from_a_given_age_on(pool: asyncpg.Pool) -> None:
    (fact,) = await add_play(pool, is_waiting=True)
    await add_play(pool, at=NOW - timedelta(seconds=5), is_waiting=True)
    report = await audit(pool)
    assert report.is_sound
    assert report.unfinished == [Finding("unsettled", fact, "not settled for 3,600 s, 0 attempts")]


@pytest.fixture
async def charges(metering: Metering) -> AsyncIterator[ChargesClient]:  # noqa: F811
    async with aiohttp.ClientSession() as session:
        yield ChargesClient(session, url=str(metering.clients[0].make_url("/")), key=ADMIN_KEY)


async def charge(metering: Metering, *event_ids: str, client_id: str = "acme") -> None:  # noqa: F811
    events = [
        {"holdId": str(uuid.uuid4()), "eventId": each, "clientId": client_id, "eventType": each.partition(":")[0]}
        for each in event_ids
    ]
    await metering.settle(*events)


async def join(pool: asyncpg.Pool, charges: ChargesClient) -> AuditReport:
    return await AuditPlays(pool, NOW, 60).check_charges(charges)


async def test_every_fact_with_its_charge_is_sound_and_others_charges_are_their_own(
    pool: asyncpg.Pool,
    metering: Metering,  # noqa: F811
    charges: ChargesClient,
) -> None:
    for number in range(5):
        await charge(metering, *await add_play(pool, is_ended=number % 2 == 0))
    await charge(metering, "report.rendered:1")
    report = await join(pool, charges)
    assert (report.violations, report.checked) == ([], {"pairs": 8, "charges of others": 1})


async def test_facts_and_charges_without_twin_are_violations(
    pool: asyncpg.Pool,
    metering: Metering,  # noqa: F811
    charges: ChargesClient,
) -> None:
    (uncharged,) = await add_play(pool)
    await charge(metering, *await add_play(pool, is_ended=True), f"plan_play.created:{uuid.uuid4()}")
    (foreign,) = await add_play(pool)
    await charge(metering, foreign, client_id="other")
    (mistaken,) = await add_play(pool)
    await metering.settle(event(eventId=mistaken, eventType="plan_play.completed"))
    report = await join(pool, charges)
    assert rules(report) == [
        "charge_of_another_client",
        "charge_of_another_type",
        "charge_without_fact",
        "fact_uncharged",
    ]
    assert uncharged in {finding.subject for finding in report.violations}


async def test_a_fact_that_waits_in_the_outbox_is_not_missed_among_the_charges(
    pool: asyncpg.Pool, charges: ChargesClient
) -> None:
    await add_play(pool, is_waiting=True)
    assert (await join(pool, charges)).is_sound


async def test_recharge_has_charged_what_lacks_its_charge_and_nothing_else(
    pool: asyncpg.Pool,
    metering: Metering,  # noqa: F811
    charges: ChargesClient,
) -> None:
    """Metering was restored to a moment before some of its charges."""
    await charge(metering, *await add_play(pool, is_ended=True))
    lost = [*await add_play(pool, is_ended=True), *await add_play(pool)]
    await add_play(pool, at=NOW)  # still in flight
    await pool.execute("UPDATE plan_play SET user_id = 'erased-1' WHERE id::text = split_part($1, ':', 2)", lost[0])
    audit = AuditPlays(pool, NOW, 60)
    dry = await audit.recharge(charges, dry_run=True, actor="ops")
    assert (dry.uncharged, dry.announced) == (3, 0)
    assert await pool.fetch("SELECT FROM billable_event") == []
    done = await audit.recharge(charges, dry_run=False, actor="ops")
    assert (done.uncharged, done.announced) == (3, 3)
    assert (await audit.recharge(charges, dry_run=False, actor="ops")).announced == 0
    rows = await pool.fetch("SELECT event_id, outcome, user_id FROM billable_event")
    assert {row["event_id"] for row in rows} == set(lost)
    assert {(row["outcome"], row["user_id"]) for row in rows} == {("happened", None)}
    trail = await pool.fetch("SELECT actor, action, detail FROM admin_audit")
    assert [tuple(line) for line in trail] == [("ops", "recharge", '{"events": 3}')]


async def test_recharge_of_more_than_one_statement_takes_needs_two_connections_and_has_them(
    pool: asyncpg.Pool, activity_dsn: str, charges: ChargesClient, tmp_path: Path, run: Run
) -> None:
    await pool.executemany(INSERT_PLAY, [(uuid.uuid4(), OLD, None) for _ in range(501)])
    key = tmp_path / "key"
    key.write_text(ADMIN_KEY)
    arguments = ["--metering-url", charges._url, "--metering-key-file", str(key), "--json"]
    code, output, error = await asyncio.to_thread(run, activity_dsn, "billing", "recharge", *arguments)
    assert (code, error) == (0, "")
    assert orjson.loads(output) == {"uncharged": 501, "announced": 501, "inFlight": 0, "dryRun": False}


async def test_young_fact_may_be_in_flight(pool: asyncpg.Pool, charges: ChargesClient) -> None:
    await add_play(pool, at=NOW - timedelta(seconds=59))
    report = await join(pool, charges)
    assert (report.is_sound, report.checked) == (True, {"pairs": 1, "in flight": 1})


async def test_what_came_while_the_charges_were_read_is_no_violation(
    pool: asyncpg.Pool,
    metering: Metering,  # noqa: F811
    charges: ChargesClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (slow,) = await add_play(pool)
    stream = ChargesClient.stream_charges

    async def stream_late(self: ChargesClient) -> AsyncIterator[Charge]:
        # The plays' snapshot stands; now a play comes and is charged. The list is read, and then the slow one is.
        await charge(metering, *await add_play(pool))
        async for each in stream(self):
            yield each
        await charge(metering, slow)

    monkeypatch.setattr(ChargesClient, "stream_charges", stream_late)
    assert (await join(pool, charges)).violations == []


async def test_unreadable_metering_is_an_error_and_no_verdict(pool: asyncpg.Pool) -> None:
    async with aiohttp.ClientSession() as session:
        client = ChargesClient(session, url="http://127.0.0.1:1", key="k")
        with pytest.raises(ChargesUnreadable):
            await join(pool, client)


def fact(event_id: str) -> Fact:
    return Fact(event_id, "acme", "t", None, 1, OLD)


def charged(event_id: str) -> Charge:
    return Charge(event_id, "h", "acme", "t", 1, OLD, late=False)


async def stream(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def test_two_sorted_streams_are_joined_outer_on_both_sides() -> None:
    pairs = pair_in_order(stream(map(fact, "abdg")), stream(map(charged, "bbceg")))
    found = [(f.event_id if f else None, c.event_id if c else None) async for f, c in pairs]
    assert found == [
        ("a", None), ("b", "b"), (None, "b"), (None, "c"), ("d", None), (None, "e"), ("g", "g")
    ]  # fmt: skip


async def test_unsorted_stream_is_an_error_and_no_verdict() -> None:
    with pytest.raises(OutOfOrder):
        _ = [pair async for pair in pair_in_order(stream(map(fact, "ba")), stream([]))]


def test_command_says_sound_and_exits_0_then_names_the_damage_and_exits_1(activity_dsn: str) -> None:
    environment = {"ACTIVITY_POSTGRES_DSN": activity_dsn}
    result = CliRunner().invoke(commands, ["audit"], env=environment)
    assert (result.exit_code, result.stdout) == (0, "activity: sound. Every invariant holds (nothing there).\n")
    with psycopg.connect(activity_dsn) as connection:
        connection.execute(
            "INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at, "
            "next_attempt_at) VALUES (gen_random_uuid(), 'e', 'happened', 'c', 't', 1, now(), now())"
        )
    result = CliRunner().invoke(commands, ["audit", "--json"], env=environment)
    assert result.exit_code == 1
    assert orjson.loads(result.stdout)["violations"][0]["rule"] == "fact_missing"


NOWHERE = "postgresql://auditor:secret@127.0.0.1:1/activity"


def test_audit_that_cannot_look_gives_no_verdict_and_exits_3(
    run: Run, activity_dsn: str, fresh_database: FreshDatabase, empty_database: Callable[[], str], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    joined = ["--metering-url", "http://127.0.0.1:1", "--metering-key-file", str(key)]
    cases: list[tuple[str, list[str], str]] = [
        (NOWHERE, [], "the database of ACTIVITY_POSTGRES_DSN cannot be reached"),
        (activity_dsn.rpartition("/")[0] + "/nothing", [], "no database of the name"),
        (empty_database(), [], "not this service's, or it is not migrated"),
        (fresh_database("metering_service"), [], "not this service's, or it is not migrated"),
        ("", [], "ACTIVITY_POSTGRES_DSN"),
        (activity_dsn, joined, "metering at http://127.0.0.1:1 cannot be read: nobody listens there"),
    ]
    for dsn, arguments, reason in cases:
        code, output, error = run(dsn, "audit", *arguments)
        assert (code, output, error.count("\n")) == (3, "", 1), error
        assert error.startswith("activity_service: no verdict: ")
        assert reason in error
        assert "secret" not in error
    key.write_bytes(b"\xff")
    assert run(activity_dsn, "audit", *joined)[0] == 3
