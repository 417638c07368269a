"""Attempts at a create: holds that are given up, shared, too old, or of a system that was restored."""

import asyncio
import uuid
from datetime import timedelta

import orjson
import pytest

from activity_service.plays.creation_store import Creation, CreationStore
from activity_service.plays.idempotency import identify
from activity_service.plays.plan_play import Caller, play_created, start_plan_play
from local_stack.ports import choose_free_port
from metering_client.event import BillableEvent, Grant, Outcome
from service_chassis.clock import system_clock
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity
from tests.activity_service.metering_double import Gate


@pytest.mark.parametrize("what", ["held at", "id"])
async def test_a_hold_older_than_half_the_retention_is_not_used(activity: Activity, what: str) -> None:
    now = system_clock()
    play = start_plan_play(str(uuid.uuid4()), "client-a", None, {"plan_id": "plan-1"}, now)
    event = play_created(play)
    for seconds, is_used in ((1010, False), (990, True)):
        before = now - timedelta(seconds=seconds)
        held_at = before if what == "held at" else now
        hold_id = event.hold_id
        if what == "id":
            milliseconds = f"{int(before.timestamp() * 1000):012x}"
            hold_id = f"{milliseconds[:8]}-{milliseconds[8:]}{hold_id[13:]}"
        async with activity.pool.acquire() as connection:
            [stored] = await CreationStore(connection).insert_plan_plays(
                [Creation(play, event, Grant(hold_id, held_at.isoformat()), None)], timedelta(seconds=2000)
            )
        assert (stored.is_new, stored.is_announced) == (is_used, is_used)


async def test_an_attempt_that_stood_still_for_too_long_attempts_anew(activity: Activity) -> None:
    gate = activity.metering.answered["authorize"]
    gate.close()
    creating = asyncio.create_task(activity.create(key="k"))
    await gate.reached.wait()
    [hold] = activity.metering.holds.values()
    event_id = hold.event["eventId"]
    [hold_id] = activity.metering.holds
    old = {"holdId": hold_id, "eventId": event_id, "decision": "granted", "state": "held"}
    activity.metering.says["authorize"] = (
        200,
        orjson.dumps({"decisions": [{**old, "heldAt": "2020-01-01T00:00:00Z"}]}),
    )
    released = activity.metering.answered["release"]
    released.close()
    gate.open()
    await released.reached.wait()
    del activity.metering.says["authorize"]
    released.open()
    assert (await creating).status == 201
    await activity.settle_all()
    assert activity.metering.states() == ["released", "settled"]


async def test_an_authorize_without_an_answer_gives_its_hold_back_at_once(start_activity: StartActivity) -> None:
    activity = await start_activity(metering_deadline_seconds=0.2)
    for key, outcomes in ((None, []), ("k", ["abandoned"])):
        gate = activity.metering.answered["authorize"]
        gate.close()
        assert (await activity.create(key=key)).status == 500
        gate.open()
        await activity.components.billing.sweeper.finish()
        assert set(activity.metering.states()) == {"released"}
        assert await activity.outcomes() == outcomes
    assert (await activity.create(key="k")).status == 201


async def test_nothing_is_given_back_where_nothing_can_be_held(
    activity: Activity, start_activity: StartActivity
) -> None:
    other = await start_activity(metering_url=f"http://127.0.0.1:{choose_free_port()}", metering_deadline_seconds=0.1)
    assert (await other.create(key="k")).status == 500
    play_id = identify(Caller("client-a", None), "l", {}).play_id
    activity.metering.undecidable.add(f"plan_play.created:{play_id}")
    assert (await activity.create(key="l")).status == 500
    assert await activity.rows("billable_event") == []
    assert [call for call, _ in activity.metering.calls if call == "release"] == []


async def test_two_requests_share_a_hold_and_one_gives_up_the_other_attempts_anew(
    activity: Activity, start_activity: StartActivity
) -> None:
    impatient = await start_activity(metering_deadline_seconds=0.2)
    gate = activity.metering.answered["authorize"]
    gate.close()
    patient = asyncio.create_task(activity.create(key="k"))
    await gate.reached.wait()
    gave_up = await impatient.create(key="k")
    # The one that gave up did so for a hold of its own; now for the one that both were granted.
    [shared] = [hold_id for hold_id, hold in activity.metering.holds.items() if hold.state == "held"]
    event = activity.metering.holds[shared].event
    outcome = await activity.components.billing.sweeper.give_up(
        BillableEvent(shared, event["eventId"], event["clientId"], event["eventType"])
    )
    gate.open()
    assert (gave_up.status, outcome, (await patient).status) == (500, Outcome.ABANDONED, 201)
    await activity.settle_all()
    assert activity.metering.states().count("settled") == len(activity.metering.charges) == 1


async def test_new_creates_and_replays_in_one_batch_all_succeed(activity: Activity) -> None:
    firsts = await asyncio.gather(*(activity.create(key=f"k{n}") for n in range(10)))
    activity.metering.holds.clear()  # as if restored: each replay is granted a fresh hold
    replies = await asyncio.gather(
        *(activity.create(key=f"k{n}") for n in range(10)), *(activity.create() for _ in range(10))
    )
    assert [reply.body for reply in replies[:10]] == [first.body for first in firsts]
    assert {reply.status for reply in replies} == {201}
    await activity.settle_all()
    assert "released" not in activity.metering.states()
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 20


async def test_a_charged_create_that_activity_forgot_is_stored_and_not_charged_again(activity: Activity) -> None:
    """Activity's database was restored to a moment before it."""
    first = await activity.create(key="k")
    await activity.settle_all()
    await activity.pool.execute("DELETE FROM plan_play")
    again = await activity.create(key="k")
    assert (again.status, again.play["id"]) == (201, first.play["id"])
    assert "Idempotency-Replayed" not in again.headers
    assert await activity.rows("billable_event") == []
    assert activity.metering.charges == {f"plan_play.created:{first.play['id']}": 1}


async def test_calls_go_beside_one_that_metering_is_slow_with(activity: Activity) -> None:
    gate = activity.metering.answered["authorize"]
    gate.close()
    slow = asyncio.create_task(activity.create())
    await gate.reached.wait()
    activity.metering.answered["authorize"] = Gate()
    assert (await activity.create()).status == 201
    gate.open()
    assert (await slow).status == 201


async def test_who_has_less_time_left_than_metering_takes_is_told_so_and_metering_is_not_asked(
    activity: Activity,
) -> None:
    client = activity.components.create_plays._metering
    client._call_seconds = 1000.0
    reply = await activity.create()
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert activity.metering.events_of("authorize") == []
    client._call_seconds = 0.0
    assert (await activity.create()).status == 201
    left = [int(headers["X-Time-Left-Ms"]) for headers in activity.metering.headers if "X-Time-Left-Ms" in headers]
    assert 1 <= left[-1] <= 2000


async def test_a_completion_that_was_charged_and_forgotten_here_is_stored_and_not_charged_again(
    activity: Activity,
) -> None:
    """Activity's database was restored to a moment before it."""
    play = await activity.create_play()
    await activity.update(play["id"], status="ended")
    await activity.settle_all()
    await activity.pool.execute("UPDATE plan_play SET status = 'active', first_ended_at = NULL, completed_at = NULL")
    assert (await activity.update(play["id"], status="ended")).status == 200
    assert await activity.rows("billable_event") == []
    assert len(activity.metering.charges) == 2
