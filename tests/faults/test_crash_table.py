"""Every row of the crash table, on processes that really die: facts, charges and hold as its last column says.

Long because it is the crash table, a test a row.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local_stack.processes import REPOSITORY
from service_chassis.clock import system_clock
from tests.faults.crash_row import CREDITS, CrashTable, End, Row, ids_of
from tests.faults.observation import run_audits

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.system]

ABANDONED = End(facts=0, charges=0, holds=("released",))
NOTHING = End(facts=0, charges=0)
BILLED = End(facts=1, charges=1, holds=("settled",))
SECOND_ATTEMPT = End(facts=1, charges=1, holds=("released", "settled"))


@pytest_asyncio.fixture(loop_scope="module")
async def row(crash_table: CrashTable) -> AsyncIterator[Row]:
    """Return a row on a whole stack, and make the stack whole again after it."""
    yield crash_table.take_row()
    await crash_table.mend()


async def test_activity_dies_before_authorize(row: Row) -> None:
    answer = await row.kill_at("before-authorize", row.create)
    assert (answer.status, await row.end()) == (None, NOTHING)


async def test_authorize_is_lost(row: Row) -> None:
    await row.stack.links["activity-metering"].refuse()
    assert (await row.create()).status == 500
    await row.stack.links["activity-metering"].heal()
    assert await row.end() in (NOTHING, ABANDONED)  # its release may have come through


async def test_authorize_arrives_after_its_caller_gave_up(row: Row) -> None:
    row.stack.links["activity-metering"].stall()
    assert (await row.create()).status == 500
    await row.stack.links["activity-metering"].heal()
    await row.await_hold("released")
    assert await row.end() == ABANDONED
    assert (await row.create()).status == 201


async def test_one_of_two_requests_with_a_key_gives_up_and_the_other_attempts_anew(row: Row) -> None:
    met = row.arm("before-create-statement", "stop")
    stopped = asyncio.create_task(row.create(key="k"))
    pid = await met
    assert pid is not None
    await row.await_hold("released")  # the other process takes it for dead
    row.wake(pid)
    assert (await stopped).status == 201
    again = await row.create(key="k", via="activity-2")
    assert (again.status, again.is_replayed) == (201, True)
    assert await row.end() == SECOND_ATTEMPT


async def test_metering_dies_before_its_commit(row: Row) -> None:
    assert (await row.kill_at("before-hold", row.create)).status == 500
    await row.table.mend()
    assert await row.end() in (NOTHING, ABANDONED)  # its release may have come to the new process


async def test_metering_commits_the_hold_and_its_answer_is_lost_for_good(row: Row) -> None:
    assert (await row.kill_at("after-hold", row.create)).status == 500
    await row.table.mend()
    assert await row.end() == ABANDONED


async def test_metering_commits_the_hold_and_its_answer_is_lost_once(row: Row) -> None:
    row.stack.links["activity-metering"].lose_answer_to(b"/internal/events/authorize")
    assert (await row.create()).status == 201, "asked again with the same hold"
    assert await row.end() == BILLED


async def test_activity_dies_with_a_grant_in_hand(row: Row) -> None:
    answer = await row.kill_at("after-authorize", row.create)
    assert (answer.status, await row.end()) == (None, ABANDONED)


async def test_activity_dies_inside_its_transaction(row: Row) -> None:
    play = (await row.create()).play_id
    answer = await row.kill_at("after-fact-writes", lambda: row.complete(play))
    assert (answer.status, await row.end()) == (None, End(facts=1, charges=1, holds=("settled", "released")))


async def test_activity_database_dies_before_the_commit_is_durable(row: Row) -> None:
    met = row.arm("before-create-statement", "stop")
    request = asyncio.create_task(row.create())
    pid = await met
    assert pid is not None
    await row.stack.kill_postgres()
    row.wake(pid)
    assert (await request).status == 500
    await row.table.mend()
    assert await row.end() == ABANDONED


async def test_commit_is_durable_and_its_answer_lost(row: Row) -> None:
    row.stack.links["activity-postgres"].lose_answer_to(b"marker-of-the-lost-answer")
    first = await row.create(key="k", marker="marker-of-the-lost-answer")
    again = await row.create(key="k", marker="marker-of-the-lost-answer")
    assert (first.status, again.status, again.is_replayed) == (500, 201, True)
    assert await row.end() == BILLED


async def test_commit_of_a_completion_is_durable_and_its_answer_lost(row: Row) -> None:
    play = (await row.create()).play_id
    row.stack.links["activity-postgres"].lose_answer_to(b"COMMIT")
    # Background work commits too; whoever's answer it is that is lost, the end is the same.
    first = await row.complete(play)
    again = await row.complete(play)
    assert first.status in (200, 500)
    assert again.status == 200
    assert await row.end() == End(facts=2, charges=2, holds=("settled", "settled"))


async def test_activity_dies_after_its_commit(row: Row) -> None:
    first = await row.kill_at("after-create-statement", lambda: row.create(key="k"))
    again = await row.create(key="k", via="activity-2")
    assert (first.status, again.status, again.is_replayed) == (None, 201, True)
    assert await row.end() == BILLED


async def test_caller_goes_away_before_its_answer(row: Row) -> None:
    met = row.arm("before-create-statement", "stop")
    request = asyncio.create_task(row.create())
    pid = await met
    assert pid is not None
    request.cancel()
    row.wake(pid)
    assert await row.end() == BILLED


@pytest.mark.parametrize("point", ["before-settle-call", "after-settle-call"])
async def test_relay_dies(row: Row, point: str) -> None:
    await row.kill_at(point, row.create)
    await row.table.mend()
    assert await row.end() == BILLED


async def test_settle_is_lost_then_doubled(row: Row) -> None:
    row.stack.links["activity-metering"].lose_answer_to(b"/internal/events/settle")
    row.stack.tape.is_doubling = True
    assert (await row.create()).status == 201
    end = await row.end()
    row.stack.tape.is_doubling = False
    assert end == BILLED


async def test_two_relays_take_what_waited_while_metering_was_away(row: Row) -> None:
    met = row.arm("before-charge", "stop")
    answers = await asyncio.gather(*(row.create(via=via) for via in ("activity-1", "activity-2")))
    # Metering stands still at the first one's charge, which on a busy machine can be before the second one's grant.
    created = sum(answer.status == 201 for answer in answers)
    assert created >= 1
    pid = await met
    assert pid is not None
    row.wake(pid)
    end = await row.end()
    assert (end.facts, end.charges) == (created, created)
    assert end.holds.count("settled") == created
    assert set(end.holds) <= {"settled", "released"}


@pytest.mark.parametrize("point", ["before-charge", "after-charge"])
async def test_metering_dies_around_the_commit_of_a_settle(row: Row, point: str) -> None:
    assert (await row.kill_at(point, row.create)).status == 201
    await row.table.mend()
    assert await row.end() == BILLED


async def test_metering_database_dies_before_the_settle_commits(row: Row) -> None:
    met = row.arm("before-charge", "stop")
    assert (await row.create()).status == 201
    pid = await met
    assert pid is not None
    await row.stack.kill_postgres()
    row.wake(pid)
    await row.table.mend()
    assert await row.end() == BILLED


async def test_activity_is_paused_and_the_sweeper_abandons_first(row: Row) -> None:
    met = row.arm("before-create-statement", "stop")
    request = asyncio.create_task(row.create())
    pid = await met
    assert pid is not None
    await row.await_hold("released")
    row.wake(pid)
    assert (await request).status == 201
    assert await row.end() == SECOND_ATTEMPT


async def test_activity_is_paused_and_has_committed_first(row: Row) -> None:
    met = row.arm("after-create-statement", "stop")
    request = asyncio.create_task(row.create())
    pid = await met
    assert pid is not None
    await row.await_hold("settled")
    row.wake(pid)
    assert (await request).status == 201
    assert await row.end() == BILLED


async def test_while_activity_is_down_its_credits_are_withheld_and_never_sold(row: Row) -> None:
    for _ in range(CREDITS - 1):
        await row.create(via="activity-2")
    await row.end()
    await row.stack.kill_service("activity-2")
    await row.kill_at("after-authorize", row.create)
    body = {"events": [row.event(eventType="plan_play.created")]}
    decision = (await row.table.metering("POST", "/internal/events/authorize", body, "events_key"))["decisions"][0]
    assert decision["code"] == "api_balance_exhausted"
    await row.table.mend()
    assert await row.end() == End(
        facts=CREDITS - 1, charges=CREDITS - 1, holds=("settled",) * (CREDITS - 1) + ("released",)
    )


async def test_sweeper_dies_between_abandoning_and_releasing(row: Row) -> None:
    met = row.arm("after-abandon", "kill")
    await row.kill_at("after-authorize", row.create)
    assert await met is not None
    assert await row.holds("held")
    await row.table.mend()
    assert await row.end() == ABANDONED


async def test_release_before_its_authorize_and_doubled_is_for_ever(row: Row) -> None:
    event = row.event()
    for _ in range(2):
        body = {"events": [ids_of(event)]}
        released = await row.table.metering("POST", "/internal/events/release", body, "events_key")
        assert released["results"][0]["state"] == "released"
    late = await row.table.metering("POST", "/internal/events/authorize", {"events": [event]}, "events_key")
    assert late["decisions"][0]["decision"] == "conflict"
    assert await row.end() == ABANDONED


async def test_settle_of_a_hold_that_a_restored_metering_does_not_know_is_charged_late(row: Row) -> None:
    body = {"events": [row.event(happenedAt="2026-01-01T00:00:00Z")]}
    for _ in range(2):
        settled = await row.table.metering("POST", "/internal/events/settle", body, "events_key")
        assert (settled["results"][0]["state"], settled["results"][0]["late"]) == ("settled", True)
    charges = await row.fetch("metering", "SELECT late FROM hold_history WHERE client_id = $1")
    assert [charge["late"] for charge in charges] == [True]


@pytest.mark.parametrize("harm", ["killed", "paused", "flushed"])
async def test_redis_is_harmed_and_charges_are_not(row: Row, harm: str) -> None:
    server = row.stack.redis.process
    match harm:
        case "killed":
            os.kill(server.pid, signal.SIGKILL)
        case "paused":
            os.kill(server.pid, signal.SIGSTOP)
        case _:
            import redis.asyncio

            async with redis.asyncio.Redis.from_url(row.stack.redis.url) as client:
                await client.flushall()
    assert (await row.create()).status == 201
    assert await row.end() == BILLED


async def test_first_completions_at_once_are_one_charge(row: Row) -> None:
    play = (await row.create()).play_id
    answers = await asyncio.gather(*[row.complete(play, via=f"activity-{1 + n % 2}") for n in range(10)])
    assert {answer.status for answer in answers} == {200}
    assert await row.end() == End(facts=2, charges=2, holds=("settled", "settled"))


async def test_same_key_at_once_is_one_play_and_one_charge(row: Row) -> None:
    answers = await asyncio.gather(*[row.create(key="k", via=f"activity-{1 + n % 2}") for n in range(10)])
    assert {answer.status for answer in answers} == {201}
    assert len({answer.play_id for answer in answers}) == 1
    assert (await row.end()).charges == 1


async def test_poison_settle_is_parked_while_others_flow_and_charged_once_it_is_mended(row: Row) -> None:
    play_id = uuid.uuid4()
    poison = row.event()  # its hold is another event's
    await row.table.metering("POST", "/internal/events/authorize", {"events": [poison]}, "events_key")
    await row.fetch(
        "activity",
        """WITH play AS (
               INSERT INTO plan_play (id, client_id, plan_id, status, planned_lessons, current_lesson_index,
                   completed_lessons, completed_lesson_plays, total_lessons_completed, created_at, updated_at)
               VALUES ($2, $1, 'p', 'active', '{}', 0, '{}', '{}', 0, now(), now()) RETURNING id, client_id)
           INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at,
                   next_attempt_at)
           SELECT $3, 'plan_play.created:' || id, 'happened', client_id, 'plan_play.created', 1, now(), now()
           FROM play
        """,
        play_id,
        uuid.UUID(poison["holdId"]),
    )
    await row.await_rows("activity", "SELECT 1 FROM billable_event WHERE client_id = $1 AND parked_at IS NOT NULL")
    assert (await row.create()).status == 201
    await row.await_hold("settled")
    # Mended: that hold is over. Re-driven, the fact is charged, late.
    await row.table.metering("POST", "/internal/events/release", {"events": [ids_of(poison)]}, "events_key")
    command = [sys.executable, "-m", "activity_service", "billing", "redrive"]
    environment = {**os.environ, "ACTIVITY_POSTGRES_DSN": row.stack.dsns["activity"]}
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=REPOSITORY)
    assert await process.wait() == 0
    end = await row.end()
    assert (end.facts, end.charges) == (2, 2)


async def test_sigterm_finishes_what_is_under_way(row: Row) -> None:
    row.stack.links["activity-metering"].delay(0.2, 0.2)
    requests = [asyncio.create_task(row.create()) for _ in range(3)]
    await row.await_hold("held")
    await row.stack.terminate_service("activity-1")
    assert {(await request).status for request in requests} == {201}
    assert await row.end() == End(facts=3, charges=3, holds=("settled",) * 3)


async def test_the_audits_find_nothing_in_what_all_rows_left_behind(crash_table: CrashTable) -> None:
    await crash_table.mend()
    assert await run_audits(crash_table.stack, system_clock()) == []
