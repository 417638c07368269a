"""The sweeper and the fence: every hold left behind is closed the way the fact says, whoever comes first."""

import asyncio
import uuid

import asyncpg
import pytest
from uuid_utils import uuid7

from metering_client.relay import Relay
from tests.activity_service.activity import Activity, until
from tests.activity_service.conftest import StartActivity
from tests.activity_service.metering_double import Hold


def leave_hold(activity: Activity, event_type: str = "plan_play.created", **fields: object) -> str:
    """Have metering hold an event whose request is gone."""
    hold_id = str(uuid7())
    event_id = f"{event_type}:{uuid.uuid4()}"
    activity.metering.holds[hold_id] = Hold(
        {"eventId": event_id, "clientId": "client-a", "eventType": event_type, "units": 1, **fields}
    )
    return hold_id


async def test_a_hold_whose_request_is_gone_is_abandoned_and_released(activity: Activity) -> None:
    hold_id = leave_hold(activity, userId="user-1")
    await activity.sweep()

    [row] = await activity.rows("billable_event")
    assert (str(row["hold_id"]), row["outcome"]) == (hold_id, "abandoned")
    assert "user-1" not in repr(row)
    assert activity.metering.holds[hold_id].state == "released"
    assert activity.metric("activity_holds_resolved_total", outcome="released") == 1
    assert activity.metric("activity_holds_left_behind") == 1
    await activity.sweep()
    assert activity.metric("activity_holds_left_behind") == 0


async def test_a_hold_whose_fact_is_committed_is_settled(activity: Activity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "remember", lambda self, event: None)
    await activity.create_play()
    assert activity.metering.states() == ["held"]
    await activity.sweep()

    assert activity.metering.states() == ["settled"]
    assert await activity.rows("billable_event") == []


async def test_a_hold_left_behind_is_settled_for_the_units_that_its_fact_was(
    activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "remember", lambda self, event: None)
    await activity.create_play()
    [hold] = activity.metering.holds.values()
    hold.event["units"] = 3
    await activity.sweep()
    [told] = activity.metering.events_of("settle")
    assert told["units"] == 1


async def test_metering_that_forgot_a_settlement_is_told_again(activity: Activity) -> None:
    await activity.create_play()
    await activity.settle_all()
    for hold in activity.metering.holds.values():
        hold.state = "held"
    activity.metering.charges.clear()
    await activity.sweep()

    assert activity.metering.states() == ["settled"]
    assert len(activity.metering.charges) == 1


async def test_a_round_cut_short_between_abandoning_and_releasing_is_mended_by_the_next(activity: Activity) -> None:
    hold_id = leave_hold(activity)
    activity.metering.says["release"] = (503, b"")
    activity.metering.answered["release"].close()
    cut = asyncio.create_task(activity.components.billing.sweeper.run_once())
    await activity.metering.answered["release"].reached.wait()
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    activity.metering.holds[hold_id].state = "held"  # the release was lost on its way
    activity.metering.open_all()
    del activity.metering.says["release"]
    assert await activity.outcomes() == ["abandoned"]

    await activity.sweep()
    assert activity.metering.holds[hold_id].state == "released"
    assert await activity.outcomes() == ["abandoned"]


async def test_all_pages_of_held_events_are_gone_through(activity: Activity) -> None:
    activity.metering.held_page_size = 3
    for _ in range(10):
        leave_hold(activity)
    await activity.sweep()

    assert set(activity.metering.states()) == {"released"}


async def test_only_old_holds_are_asked_for(activity: Activity) -> None:
    activity.metering.calls.clear()
    await activity.sweep()

    assert activity.metering.calls == [("list_held", {"state": "held", "olderThanSeconds": "30", "limit": "500"})]


async def test_holds_of_other_services_facts_are_left_alone_and_counted(activity: Activity) -> None:
    other, own = leave_hold(activity, "lesson.sold"), leave_hold(activity)
    await activity.sweep()

    assert activity.metering.holds[other].state == "held"
    assert activity.metering.holds[own].state == "released"
    assert activity.metric("activity_holds_resolved_total", outcome="not ours") == 1


async def test_a_paused_create_that_the_sweeper_overtakes_attempts_anew(activity: Activity) -> None:
    gate = activity.metering.answered["authorize"]
    gate.close()
    paused = asyncio.create_task(activity.create(key="k"))
    await gate.reached.wait()
    await activity.sweep()
    gate.open()

    assert (await paused).status == 201
    await activity.settle_all()
    assert activity.metering.states() == ["released", "settled"]
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 1


async def test_without_the_releases_answer_a_paused_create_gives_way_with_500(activity: Activity) -> None:
    """Metering would grant the same hold again: another attempt at once is in vain."""
    gate = activity.metering.answered["authorize"]
    gate.close()
    paused = asyncio.create_task(activity.create(key="k"))
    await gate.reached.wait()
    await activity.sweep()
    activity.metering.says["release"] = (503, b"")
    gate.open()

    reply = await paused
    assert (reply.status, reply.json) == (500, {"error": "Internal server error"})
    assert await activity.rows("plan_play") == []
    del activity.metering.says["release"]
    assert (await activity.create(key="k")).status == 201


async def test_a_paused_completion_that_the_sweeper_overtakes_attempts_anew(activity: Activity) -> None:
    play = await activity.create_play()
    await activity.settle_all()
    gate = activity.metering.answered["authorize"]
    gate.close()
    paused = asyncio.create_task(activity.update(play["id"], status="ended", currentLessonIndex=5))
    await gate.reached.wait()
    await activity.sweep()
    gate.open()

    assert ((reply := await paused).status, reply.play["currentLessonIndex"]) == (200, 5)
    await activity.settle_all()
    assert activity.metering.states() == ["released", "settled", "settled"]
    assert len(activity.metering.charges) == 2


async def test_a_create_that_overtakes_the_sweeper_keeps_its_hold_and_is_settled(activity: Activity) -> None:
    authorized, listed = (activity.metering.answered[name] for name in ("authorize", "list_held"))
    authorized.close()
    request = asyncio.create_task(activity.create())
    await authorized.reached.wait()
    listed.close()
    sweep = asyncio.create_task(activity.components.billing.sweeper.run_once())
    await listed.reached.wait()  # the sweeper has seen the hold, and is paused
    authorized.open()
    assert (await request).status == 201
    listed.open()
    await sweep
    await activity.settle_all()

    assert activity.metering.states() == ["settled"]
    assert await activity.outcomes() == []
    assert len(activity.metering.charges) == len(await activity.rows("plan_play")) == 1
    assert [name for name, _ in activity.metering.calls if name == "release"] == []


async def test_requests_and_sweepers_at_full_tilt_agree_about_every_hold(
    activity: Activity, start_activity: StartActivity
) -> None:
    other = await start_activity()
    done = asyncio.Event()

    async def sweep_on(service: Activity) -> None:
        while not done.is_set():
            await service.sweep()

    sweeping = [asyncio.create_task(sweep_on(service)) for service in (activity, other)]
    replies = []
    for _ in range(5):
        replies += await asyncio.gather(
            *(service.create(key=f"k{n}") for n in range(8) for service in (activity, other))
        )
    done.set()
    await asyncio.gather(*sweeping)
    await activity.sweep()
    await activity.settle_all()

    assert {reply.status for reply in replies} <= {201, 500}
    plays = {str(row["id"]) for row in await activity.rows("plan_play")}
    assert activity.metering.charges.keys() == {f"plan_play.created:{play}" for play in plays}
    assert {reply.play["id"] for reply in replies if reply.status == 201} <= plays
    assert "held" not in activity.metering.states()
    assert activity.metering.states().count("settled") == len(plays)


async def test_a_round_that_fails_is_counted_and_the_next_one_comes(start_activity: StartActivity) -> None:
    activity = await start_activity(sweep_interval_seconds=0.01)
    activity.metering.says["list_held"] = (200, b'{"events":[{"holdId":"x"}],"nextCursor":null}')
    failed = {"task": "sweeper", "outcome": "failed"}
    await until(lambda: activity.metric("activity_background_rounds_total", **failed) > 1)
    del activity.metering.says["list_held"]
    hold_id = leave_hold(activity)
    await until(lambda: activity.metering.holds[hold_id].state == "released")


async def test_a_page_that_fails_keeps_no_other_holds_waiting(activity: Activity) -> None:
    activity.metering.held_page_size = 2
    holds = sorted(leave_hold(activity) for _ in range(6))
    await activity.pool.execute(
        "ALTER TABLE billable_event ADD CONSTRAINT broken CHECK (hold_id <> '" + holds[0] + "'::uuid)"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await activity.sweep()
    assert [activity.metering.holds[hold].state for hold in holds] == ["held"] * 2 + ["released"] * 4


async def test_a_held_hold_whose_fact_is_there_without_a_row_is_settled_and_never_given_up(
    activity: Activity,
) -> None:
    """Metering was restored to a moment at which it was held; its row is gone since."""
    await activity.create_play()
    await activity.settle_all()
    for hold in activity.metering.holds.values():
        hold.state = "held"
    activity.metering.charges.clear()
    await activity.sweep()
    assert activity.metering.states() == ["settled"]
    assert await activity.rows("billable_event") == []


async def test_what_was_given_up_is_remembered_for_the_retention_and_no_longer(
    start_activity: StartActivity,
) -> None:
    activity = await start_activity(hold_retention_seconds=1000)
    leave_hold(activity)
    await activity.sweep()
    for seconds, left in ((900, 1), (200, 0)):
        await activity.pool.execute(
            "UPDATE billable_event SET created_at = created_at - make_interval(secs => $1)", seconds
        )
        await activity.sweep()
        assert len(await activity.rows("billable_event")) == left
