"""The relay: what happened reaches metering, once as far as anybody can tell, whatever stands in its way."""

import asyncio

import pytest

from metering_client.outbox_store import BATCH_EVENTS, OutboxStore
from metering_client.relay import Relay
from tests.activity_service.activity import Activity, until
from tests.activity_service.conftest import StartActivity
from tests.activity_service.metering_double import Hold


async def unsettled(activity: Activity) -> list[dict[str, object]]:
    return [row for row in await activity.rows("billable_event") if row["outcome"] == "happened"]


async def settle_due(activity: Activity) -> None:
    """Let the time come of everything that waits, and have it settled."""
    await activity.pool.execute("UPDATE billable_event SET next_attempt_at = utc_now() WHERE parked_at IS NULL")
    await activity.components.billing.relay.settle_due()


async def insert_happened(activity: Activity, count: int) -> None:
    """Put events into the outbox as a process would leave them that dies right after its commits."""
    rows = await activity.pool.fetch(
        """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        SELECT gen_random_uuid(), 'plan_play.created:' || n, 'happened', 'client-a', 'plan_play.created', 1,
               now(), now()
        FROM generate_series(1, $1::integer) AS n
        RETURNING hold_id::text, event_id
        """,
        count,
    )
    for hold_id, event_id in rows:
        event = {"eventId": event_id, "clientId": "client-a", "eventType": "plan_play.created", "units": 1}
        activity.metering.holds[hold_id] = Hold(event)


async def test_what_a_dead_process_left_is_settled_when_the_next_one_starts(
    activity: Activity, start_activity: StartActivity
) -> None:
    await insert_happened(activity, 3)
    gate = activity.metering.answered["settle"]
    gate.reached.clear()
    await start_activity()

    await asyncio.wait_for(gate.reached.wait(), 5)


async def test_a_backlog_is_settled_in_batches_in_one_round(activity: Activity) -> None:
    await insert_happened(activity, 2 * BATCH_EVENTS + 1)
    await activity.settle_all()

    assert await unsettled(activity) == []
    assert len(activity.metering.charges) == 2 * BATCH_EVENTS + 1
    assert [len(body["events"]) for name, body in activity.metering.calls if name == "settle"] == [500, 500, 1]


async def test_fewer_units_than_were_held_are_charged_as_they_happened(activity: Activity) -> None:
    await insert_happened(activity, 1)
    [hold] = activity.metering.holds.values()
    hold.event["units"] = 3
    await activity.pool.execute("UPDATE billable_event SET units = 2")
    await activity.settle_all()
    [told] = activity.metering.events_of("settle")
    assert told["units"] == 2


async def test_two_relays_at_once_take_different_events(activity: Activity, start_activity: StartActivity) -> None:
    other = await start_activity()
    await insert_happened(activity, 2 * BATCH_EVENTS)
    gate = activity.metering.answered["settle"]
    gate.close()
    rounds = [asyncio.create_task(each.components.billing.relay.settle_due()) for each in (activity, other)]
    await until(lambda: len(activity.metering.events_of("settle")) == 2 * BATCH_EVENTS)
    gate.open()
    await asyncio.gather(*rounds)

    sent = [event["holdId"] for event in activity.metering.events_of("settle")]
    assert len(sent) == len(set(sent)) == 2 * BATCH_EVENTS
    assert await unsettled(activity) == []


async def test_an_answer_that_is_lost_sends_the_same_events_again(activity: Activity) -> None:
    await insert_happened(activity, 3)
    activity.metering.says["settle"] = (200, b"{")
    await settle_due(activity)
    assert len(await unsettled(activity)) == 3
    del activity.metering.says["settle"]
    await settle_due(activity)

    assert await unsettled(activity) == []
    first, *_, last = (body for name, body in activity.metering.calls if name == "settle")
    assert {event["holdId"] for event in first["events"]} == {event["holdId"] for event in last["events"]}


async def test_pauses_grow_to_a_bound_while_metering_is_away(activity: Activity) -> None:
    await insert_happened(activity, 1)
    activity.metering.says["settle"] = (503, b"")
    pauses = []
    for _ in range(7):
        await settle_due(activity)
        pause = "SELECT extract(epoch FROM next_attempt_at - utc_now())::float FROM billable_event"
        pauses.append(round(await activity.pool.fetchval(pause)))

    assert pauses == [1, 2, 4, 8, 15, 15, 15]


async def test_before_its_next_attempt_an_event_is_left_alone(activity: Activity) -> None:
    await insert_happened(activity, 1)
    activity.metering.says["settle"] = (503, b"")
    await settle_due(activity)
    await activity.components.billing.relay.settle_due()

    assert len(activity.metering.events_of("settle")) == 1


async def test_what_is_charged_leaves_the_outbox(activity: Activity) -> None:
    activity.metering.answered["settle"].close()
    await activity.create_play()
    assert await activity.outcomes() == ["happened"]
    activity.metering.open_all()
    await activity.settle_all()
    await until(lambda: len(activity.metering.charges) == 1)
    await activity.components.billing.relay.settle_committed()
    assert await activity.rows("billable_event") == []


async def test_a_process_that_dies_after_its_commit_leaves_a_row_that_another_settles_after_the_lease(
    activity: Activity, start_activity: StartActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "remember", lambda self, event: None)
    activity.metering.says["list_held"] = (200, b'{"events":[],"nextCursor":null}')  # it is not old yet
    await activity.create_play()
    other = await start_activity()
    await other.components.billing.relay.settle_due()
    assert len(await unsettled(other)) == 1, "it is the first one's, for a while"
    await settle_due(other)
    assert await unsettled(other) == []
    assert len(activity.metering.charges) == 1


async def test_an_event_that_cannot_be_charged_now_is_postponed_and_its_neighbours_are_charged(
    activity: Activity,
) -> None:
    await insert_happened(activity, 20)
    activity.metering.undecidable.add("plan_play.created:7")
    await settle_due(activity)
    [row] = await unsettled(activity)
    assert (row["event_id"], row["attempts"], row["parked_at"]) == ("plan_play.created:7", 1, None)
    activity.metering.undecidable.clear()
    await settle_due(activity)
    assert len(activity.metering.charges) == 20


async def test_an_event_that_breaks_the_whole_call_keeps_no_neighbour_waiting(activity: Activity) -> None:
    await insert_happened(activity, 100)
    activity.metering.breaking.add("plan_play.created:7")
    await settle_due(activity)
    assert [row["event_id"] for row in await unsettled(activity)] == ["plan_play.created:7"]
    assert len(activity.metering.charges) == 99


async def test_what_metering_does_not_know_is_told_whole(activity: Activity) -> None:
    play = await activity.create_play(userId="user-1")
    activity.metering.holds.clear()  # restored to a moment before
    await activity.settle_all()
    by_ids, whole = activity.metering.events_of("settle")[-2:]
    assert by_ids.keys() == {"clientId", "holdId", "eventId", "units"}
    assert (whole["eventType"], whole["userId"], whole["units"]) == ("plan_play.created", "user-1", 1)
    assert whole["happenedAt"] == play["createdAt"].replace("Z", "+00:00") or whole["happenedAt"] == play["createdAt"]
    assert activity.metering.charges == {f"plan_play.created:{play['id']}": 1}
    assert await activity.rows("billable_event") == []


async def test_a_poisoned_event_is_parked_and_the_others_flow(activity: Activity) -> None:
    await insert_happened(activity, 20)
    activity.metering.poisoned.add("plan_play.created:7")
    await activity.settle_all()

    [row] = await unsettled(activity)
    assert row["event_id"] == "plan_play.created:7"
    assert row["parked_at"] is not None
    assert row["last_error"] == "state conflict"
    assert len(activity.metering.charges) == 19
    await activity.settle_all()
    assert len(activity.metering.events_of("settle")) == 20


async def test_an_event_that_spoils_the_whole_call_is_found_and_parked(activity: Activity) -> None:
    await insert_happened(activity, 20)
    activity.metering.malformed |= {"plan_play.created:7", "plan_play.created:11"}
    await activity.settle_all()

    assert {row["event_id"] for row in await unsettled(activity)} == activity.metering.malformed
    assert len(activity.metering.charges) == 18


async def test_a_parked_event_is_settled_once_it_is_driven_again(activity: Activity) -> None:
    await insert_happened(activity, 1)
    activity.metering.poisoned.add("plan_play.created:1")
    await activity.settle_all()
    activity.metering.poisoned.clear()
    await activity.settle_all()
    assert activity.metering.charges == {}

    async with activity.pool.acquire() as connection:
        assert len(await OutboxStore(connection).redrive_parked(None)) == 1
    await activity.settle_all()
    assert activity.metering.charges == {"plan_play.created:1": 1}
    assert await unsettled(activity) == []


async def test_what_is_parked_stays_so_since_the_first_time_and_is_told_once(activity: Activity) -> None:
    play = await activity.create_play()
    activity.metering.poisoned.add(f"plan_play.created:{play['id']}")
    await activity.settle_all()
    [parked] = await unsettled(activity)
    for _ in range(2):
        await activity.sweep()
    [row] = await unsettled(activity)
    assert (row["parked_at"], row["attempts"]) == (parked["parked_at"], 3)
    assert activity.metric("activity_settlements_total", outcome="parked") == 1


async def test_what_the_last_requests_left_is_settled_at_shutdown(activity: Activity) -> None:
    replies = await asyncio.gather(*(activity.create() for _ in range(5)))
    assert {reply.status for reply in replies} == {201}
    await activity.client.close()

    assert len(activity.metering.charges) == 5


async def test_shutdown_is_bounded_while_metering_stalls(start_activity: StartActivity) -> None:
    activity = await start_activity(metering_deadline_seconds=0.2)
    activity.metering.answered["settle"].close()
    await asyncio.gather(*(activity.create() for _ in range(5)))

    async with asyncio.timeout(3):
        await activity.client.close()
    assert len(await unsettled(activity)) == 5


async def test_the_gauges_tell_what_waits_how_long_and_what_is_parked(
    activity: Activity, start_activity: StartActivity
) -> None:
    """Also while metering is away: that is when somebody looks at them."""
    await insert_happened(activity, 3)
    activity.metering.poisoned.add("plan_play.created:2")
    await activity.settle_all()
    await insert_happened(activity, 2)
    await activity.pool.execute("UPDATE billable_event SET created_at = now() - interval '1 hour'")
    other = await start_activity(metering_url="http://127.0.0.1:9", metering_deadline_seconds=0.1)

    assert other.metric("activity_billable_events_unsettled") == 2
    assert 3600 <= other.metric("activity_billable_events_oldest_unsettled_seconds") < 3700
    assert other.metric("activity_billable_events_parked") == 1
