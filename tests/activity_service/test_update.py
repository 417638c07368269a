"""PATCH /api/plan-plays/{id}: what changes, and that the first completion is billed exactly once."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from uuid_utils import uuid7

from activity_service.plays.plan_play import Caller, PlanPlay
from activity_service.plays.read import fetch_play
from activity_service.plays.store import PlanPlayStore
from metering_client.event import BillableEvent, Grant
from metering_client.hold import Hold
from metering_client.outbox_store import OutboxStore
from service_chassis.clock import system_clock
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity


class MovableClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def __str__(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def completed_charges(activity: Activity) -> list[str]:
    return [event_id for event_id in activity.metering.charges if event_id.startswith("plan_play.completed:")]


async def test_only_what_is_named_changes_and_updated_at_moves(start_activity: StartActivity) -> None:
    clock = MovableClock()
    activity = await start_activity(clock)
    play = await activity.create_play(userId="user-1", plannedLessons=["a"], email="a@b.example")
    clock.now += timedelta(hours=1)

    changes = {
        "status": "paused",
        "currentLessonIndex": 2,
        "completedLessons": ["a", "b"],
        "completedLessonPlays": ["x"],
        "totalLessonsCompleted": 2,
        "lastPlayedAt": "2026-07-01T14:30:00+02:00",
    }
    reply = await activity.update(play["id"], **changes)

    assert reply.status == 200
    assert reply.play == {
        **play,
        **changes,
        "lastPlayedAt": "2026-07-01T12:30:00Z",
        "updatedAt": str(clock),
    }
    assert (await activity.read(play["id"])).body == reply.body
    second = await activity.update(play["id"], completedLessons=[], currentLessonIndex=0)
    assert second.play == {**reply.play, "completedLessons": [], "currentLessonIndex": 0}


async def test_a_plain_change_asks_metering_nothing(activity: Activity) -> None:
    play = await activity.create_play()
    activity.metering.says["authorize"] = (503, b"")

    for status in ("paused", "cancelled", "active"):
        assert (await activity.update(play["id"], status=status)).play["status"] == status


async def test_the_first_end_is_billed_and_completed_now(start_activity: StartActivity) -> None:
    clock = MovableClock()
    activity = await start_activity(clock)
    play = await activity.create_play(userId="user-1")
    clock.now += timedelta(hours=3)

    reply = await activity.update(play["id"], status="ended", completedAt=None, totalLessonsCompleted=3)
    await activity.settle_all()

    assert reply.status == 200
    assert reply.play == {
        **play,
        "status": "ended",
        "totalLessonsCompleted": 3,
        "completedAt": str(clock),
        "updatedAt": str(clock),
    }
    assert activity.metering.events_of("authorize")[-1]["userId"] == "user-1"
    assert completed_charges(activity) == [f"plan_play.completed:{play['id']}"]


async def test_a_given_completion_time_is_kept(activity: Activity) -> None:
    play = await activity.create_play()
    first = await activity.update(play["id"], status="ended", completedAt="2026-01-02T03:04:05.678Z")
    again = await activity.update(play["id"], status="ended")

    assert first.play["completedAt"] == again.play["completedAt"] == "2026-01-02T03:04:05.678000Z"


async def test_a_completion_time_given_before_the_end_is_kept(activity: Activity) -> None:
    play = await activity.create_play()
    await activity.update(play["id"], completedAt="2026-01-02T03:04:05Z")

    assert (await activity.update(play["id"], status="ended")).play["completedAt"] == "2026-01-02T03:04:05Z"


async def test_ending_again_in_any_order_and_after_reopening_is_never_billed_again(activity: Activity) -> None:
    play = await activity.create_play()
    for status in ("ended", "ended", "active", "ended", "cancelled", "paused", "ended"):
        assert (await activity.update(play["id"], status=status)).play["status"] == status
        await activity.settle_all()

    assert len(completed_charges(activity)) == 1
    assert len(activity.metering.events_of("authorize")) == 2


async def test_ended_once_it_ends_again_while_metering_is_away(activity: Activity) -> None:
    play = await activity.create_play()
    await activity.update(play["id"], status="ended")
    await activity.update(play["id"], status="active")
    activity.metering.says["authorize"] = (503, b"")

    assert (await activity.update(play["id"], status="ended")).status == 200


async def test_a_refused_completion_leaves_the_play_byte_for_byte_as_it_was(activity: Activity) -> None:
    play = await activity.create_play(plannedLessons=["a"])
    await activity.settle_all()
    before, row = await activity.read(play["id"]), await activity.rows("plan_play")
    activity.metering.refusal = {"code": "api_quota_exceeded", "retryAfterSeconds": 60, "message": "No more"}

    reply = await activity.update(play["id"], status="ended", currentLessonIndex=9, completedLessons=["a"])

    assert reply.status == 429
    assert reply.json == {"error": "No more", "code": "api_quota_exceeded", "retryAfterSeconds": 60}
    assert reply.headers["Retry-After"] == "60"
    assert (await activity.read(play["id"])).body == before.body
    assert await activity.rows("plan_play") == row
    assert await activity.rows("billable_event") == []


@pytest.mark.parametrize("again", ["same", "reopened in between"])
async def test_a_refused_completion_can_be_done_later_and_is_billed_then(activity: Activity, again: str) -> None:
    play = await activity.create_play()
    activity.metering.refusal = {"code": "api_balance_exhausted", "retryAfterSeconds": None}
    assert (await activity.update(play["id"], status="ended")).status == 429
    activity.metering.refusal = None
    if again != "same":
        await activity.update(play["id"], status="paused")

    assert (await activity.update(play["id"], status="ended")).status == 200
    await activity.settle_all()
    assert len(completed_charges(activity)) == 1


async def test_50_parallel_first_completions_are_all_200_and_billed_once(
    activity: Activity, start_activity: StartActivity
) -> None:
    other = await start_activity()
    play = await activity.create_play()

    replies = await asyncio.gather(
        *((activity if n % 2 else other).update(play["id"], status="ended", currentLessonIndex=n) for n in range(50))
    )
    await activity.settle_all()

    assert [reply.status for reply in replies] == [200] * 50
    assert {reply.play["status"] for reply in replies} == {"ended"}
    assert len({reply.play["completedAt"] for reply in replies}) == 1
    assert await activity.rows("billable_event") == []
    assert len(completed_charges(activity)) == 1
    assert activity.metering.states() == ["settled", "settled"]


async def complete_without_guard(pool: asyncpg.Pool, event: BillableEvent, both_have_looked: asyncio.Barrier) -> None:
    """Look, then write: what the store would be without its lock."""
    play_id = uuid.UUID(event.event_id.rpartition(":")[2])
    async with pool.acquire() as connection, connection.transaction():
        first = await connection.fetchval("SELECT first_ended_at IS NULL FROM plan_play WHERE id = $1", play_id)
        await both_have_looked.wait()
        if first:
            grant, now = granted(event), system_clock()
            await OutboxStore(connection).insert_happened(event, grant, now, timedelta(days=1))
        end = "UPDATE plan_play SET status = 'ended', first_ended_at = now() WHERE id = $1"
        await connection.execute(end, play_id)


def granted(event: BillableEvent) -> Grant:
    return Grant(event.hold_id, system_clock().isoformat())


async def test_two_first_completions_with_two_holds_are_one_fact_only_under_the_lock(activity: Activity) -> None:
    async def count_completions() -> int:
        rows = await activity.rows("billable_event")
        return sum(row["event_type"] == "plan_play.completed" for row in rows)

    unguarded, guarded = [(await activity.create_play())["id"] for _ in range(2)]

    def attempts(play_id: str) -> list[BillableEvent]:
        event = BillableEvent(str(uuid7()), f"plan_play.completed:{play_id}", "client-a", "plan_play.completed")
        return [event, replace(event, hold_id=str(uuid7()))]

    barrier = asyncio.Barrier(2)
    await asyncio.gather(*(complete_without_guard(activity.pool, event, barrier) for event in attempts(unguarded)))
    assert await count_completions() == 2  # the bug
    play = await fetch_play(activity.components.pool, Caller("client-a", None), guarded)

    async def complete(event: BillableEvent) -> PlanPlay:
        changes, now = {"status": "ended"}, system_clock()
        hold = Hold(event, granted(event), timedelta(days=1), lambda _: None)
        async with activity.serving_pool.acquire() as connection, hold.charge(connection, at=now) as charge:
            return await PlanPlayStore(connection).complete_plan_play(play, changes, charge, now)

    ended = await asyncio.gather(*map(complete, attempts(guarded)))
    # Two holds can only be where metering forgot a charge: both are announced, and the play was ended once.
    assert await count_completions() == 4
    assert len({each.first_ended_at for each in ended}) == 1
    await activity.settle_all()
    assert activity.metering.charges[f"plan_play.completed:{guarded}"] == 1


async def test_the_database_itself_refuses_an_end_that_nobody_bills(activity: Activity) -> None:
    await activity.create_play()
    with pytest.raises(asyncpg.CheckViolationError, match="plan_play_ended_is_billed"):
        await activity.pool.execute("UPDATE plan_play SET status = 'ended'")


async def test_a_completion_of_a_play_that_vanishes_gives_its_hold_back_at_once(activity: Activity) -> None:
    play = await activity.create_play()
    await activity.settle_all()
    gate = activity.metering.answered["authorize"]
    gate.close()
    request = asyncio.create_task(activity.update(play["id"], status="ended"))
    await gate.reached.wait()
    await activity.pool.execute("DELETE FROM plan_play")
    gate.open()

    reply = await request
    assert (reply.status, reply.json) == (404, {"error": "Plan play not found"})
    await activity.components.billing.sweeper.finish()
    assert activity.metering.states() == ["released", "settled"]
    assert await activity.outcomes() == ["abandoned"]


async def test_unknown_plays_are_404_and_others_plays_403_before_anything_is_asked(activity: Activity) -> None:
    play = await activity.create_play(userId="user-1")
    asked = len(activity.metering.calls)

    unknown = await activity.update(str(uuid.uuid4()), status="ended")
    assert (unknown.status, unknown.json) == (404, {"error": "Plan play not found"})
    for token in (activity.issuer.issue("client-b"), activity.issuer.issue("client-a", "user-2")):
        denied = await activity.update(play["id"], token=token, status="ended")
        assert (denied.status, denied.json) == (403, {"error": "Access denied"})
    assert [name for name, _ in activity.metering.calls[asked:] if name == "authorize"] == []
    assert (await activity.read(play["id"])).play == play
