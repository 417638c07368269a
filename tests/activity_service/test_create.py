"""POST /api/plan-plays: what is stored, what is billed, what a refusal leaves behind."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from activity_service.plays.creation_store import Creation, CreationStore, Stored
from activity_service.plays.plan_play import PlanPlay, play_created, start_plan_play
from metering_client.event import Grant
from service_chassis.clock import system_clock
from tests.activity_service.activity import Activity, until

EVERYTHING = {
    "planId": "plan-abc-123",
    "userId": "user-1",
    "plannedLessons": ["lesson-1", 'with "quotes", {braces} and \\', "漢字🎉"],
    "email": "ada@example.com",
    "displayName": "Ada Lovelace",
    "photoURL": "https://example.com/ada.png",
    "assignmentSource": "coach",
    "riskLevel": "low",
}


async def test_a_created_play_is_answered_whole_and_reads_the_same(activity: Activity) -> None:
    created = await activity.create(**EVERYTHING)

    assert created.status == 201
    play = created.play
    assert uuid.UUID(play["id"])
    assert {name: play[name] for name in EVERYTHING} == EVERYTHING
    assert play["clientId"] == "client-a"
    assert play["status"] == "active"
    assert play["currentLessonIndex"] == play["totalLessonsCompleted"] == 0
    assert play["completedLessons"] == play["completedLessonPlays"] == []
    assert play["lastPlayedAt"] is play["completedAt"] is None
    assert play["createdAt"] == play["updatedAt"]
    assert play["createdAt"].endswith("Z")
    assert (await activity.read(play["id"])).body == created.body
    assert "Idempotency-Replayed" not in created.headers


async def test_only_plan_id_is_needed_and_null_means_absent(activity: Activity) -> None:
    play = await activity.create_play(userId=None, plannedLessons=None, email=None, photoURL=None)

    assert play["userId"] is play["email"] is play["photoURL"] is play["displayName"] is None
    assert play["plannedLessons"] == []


async def test_a_create_is_authorized_before_and_settled_after_with_the_same_event(activity: Activity) -> None:
    play = await activity.create_play(userId="user-1")
    await activity.settle_all()

    authorized, settled = activity.metering.events_of("authorize"), activity.metering.events_of("settle")
    assert settled == [{name: authorized[0][name] for name in ("clientId", "holdId", "eventId", "units")}]
    assert authorized[0].pop("holdId")
    assert authorized == [
        {
            "eventId": f"plan_play.created:{play['id']}",
            "clientId": "client-a",
            "eventType": "plan_play.created",
            "userId": "user-1",
            "units": 1,
        }
    ]
    assert activity.metering.charges == {f"plan_play.created:{play['id']}": 1}


async def test_a_commit_calls_the_relay_which_settles_without_waiting_for_its_poll(activity: Activity) -> None:
    gate = activity.metering.answered["settle"]
    gate.reached.clear()
    await activity.create_play()

    await asyncio.wait_for(gate.reached.wait(), 5)


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        ({"code": "api_rate_limited", "retryAfterSeconds": 7, "message": "Slow down"}, 7),
        ({"code": "api_quota_exceeded", "retryAfterSeconds": 86_400, "message": "No more"}, 86_400),
        ({"code": "api_balance_exhausted", "retryAfterSeconds": None, "message": "No credits"}, None),
        ({"code": "api_balance_exhausted", "message": "No credits"}, None),
    ],
)
async def test_a_refusal_is_a_429_that_stores_nothing(
    activity: Activity, refusal: dict[str, object], seconds: int | None
) -> None:
    activity.metering.refusal = refusal

    reply = await activity.create()

    assert reply.status == 429
    assert reply.json == {
        "error": refusal["message"],
        "code": refusal["code"],
        "retryAfterSeconds": seconds,
    }
    assert reply.headers.get("Retry-After") == (None if seconds is None else str(seconds))
    assert await activity.rows("plan_play") == await activity.rows("billable_event") == []


async def test_a_refusal_without_a_sentence_gets_one(activity: Activity) -> None:
    activity.metering.refusal = {"code": "api_quota_exceeded", "retryAfterSeconds": 0}

    reply = await activity.create()

    assert reply.json["error"] == "Quota exceeded for this period"
    assert reply.headers["Retry-After"] == "0"


async def test_a_user_token_creates_for_its_own_user_only(activity: Activity) -> None:
    token = activity.issuer.issue(user="user-1")

    assert (await activity.create_play(token=token))["userId"] == "user-1"
    assert (await activity.create_play(token=token, userId="user-1"))["userId"] == "user-1"
    other = await activity.create(token=token, userId="user-2")
    assert other.status == 400
    assert [detail["field"] for detail in other.json["details"]] == ["userId"]
    assert len(await activity.rows("plan_play")) == 2


async def test_parallel_creates_share_calls_and_statements_and_are_each_billed_once(activity: Activity) -> None:
    replies = await asyncio.gather(*(activity.create(userId=f"user-{n}") for n in range(60)))
    await activity.settle_all()

    assert [reply.status for reply in replies] == [201] * 60
    assert {reply.play["userId"] for reply in replies} == {f"user-{n}" for n in range(60)}
    assert activity.metering.charges.keys() == {f"plan_play.created:{reply.play['id']}" for reply in replies}
    assert len([call for call, _ in activity.metering.calls if call == "authorize"]) < 60
    assert activity.metric("activity_batch_items_count", work="create") < 60


async def test_parallel_creates_on_a_balance_of_20_are_exactly_20(activity: Activity) -> None:
    activity.metering.credits = 20

    replies = await asyncio.gather(*(activity.create() for _ in range(50)))
    await activity.settle_all()

    assert sorted(reply.status for reply in replies) == [201] * 20 + [429] * 30
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 20


async def test_one_creation_that_the_database_refuses_leaves_its_neighbours_alone(activity: Activity) -> None:
    await activity.pool.execute("ALTER TABLE plan_play ADD CONSTRAINT refused CHECK (plan_id <> 'refused')")
    key = "refused"
    gate = activity.metering.answered["authorize"]
    gate.close()

    early = asyncio.create_task(activity.create())
    await gate.reached.wait()
    late = [
        asyncio.create_task(activity.create(**({"key": key, "planId": "refused"} if n == 0 else {})))
        for n in range(10)
    ]
    waiting = activity.components.create_plays._metering._questions._waiting
    await until(lambda: len(waiting) == 10)
    gate.open()
    replies = await asyncio.gather(early, *late)

    await activity.components.billing.sweeper.finish()

    assert activity.metric("activity_batch_items_count", work="create") == 2
    assert [reply.status for reply in replies] == [201, 500] + [201] * 9
    assert len(await activity.rows("plan_play")) == 10
    refused = [row for row in await activity.rows("billable_event") if row["outcome"] == "abandoned"]
    assert len(refused) == 1
    assert activity.metering.holds[str(refused[0]["hold_id"])].state == "released"


async def test_the_request_id_and_trace_go_on_to_metering(activity: Activity) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await activity.call(
        "POST",
        "/api/plan-plays",
        json={"planId": "plan-1"},
        headers={"X-Request-ID": "request-77", "traceparent": trace},
    )

    assert "request-77" in {headers.get("X-Request-ID") for headers in activity.metering.headers}
    traces = [headers["traceparent"] for headers in activity.metering.headers if "traceparent" in headers]
    assert traces[0][:36] == trace[:36]
    assert traces[0] != trace


async def test_twins_in_one_statement_are_one_play_and_the_other_is_told_so(activity: Activity) -> None:
    now = system_clock()
    play = start_plan_play(str(uuid.uuid4()), "client-a", None, {"plan_id": "plan-1", "planned_lessons": ["a"]}, now)
    lone = start_plan_play(str(uuid.uuid4()), "client-a", None, {"plan_id": "plan-2"}, now)

    def creation(play: PlanPlay) -> Creation:
        event = play_created(play)
        return Creation(play, event, Grant(event.hold_id, now.isoformat()), None)

    creations = [creation(play), creation(lone), creation(play)]
    day = timedelta(days=1)
    new, not_new = Stored(is_new=True, is_announced=True), Stored(is_new=False, is_announced=False)
    async with activity.pool.acquire() as connection:
        store = CreationStore(connection)
        assert await store.insert_plan_plays(creations, day) == [new, new, not_new]
        assert await store.insert_plan_plays(creations[:2], day) == [not_new, not_new]
        # A fresh hold for a play that is there: metering forgot its charge, and is told again.
        assert await store.insert_plan_plays([creation(play)], day) == [Stored(is_new=False, is_announced=True)]
    assert len(await activity.rows("plan_play")) == 2


async def test_a_type_that_the_policy_does_not_sell_is_the_providers_fault_and_named_in_the_log(
    activity: Activity, capsys: pytest.CaptureFixture[str]
) -> None:
    activity.metering.refusal = {
        "code": "event_type_not_sold",
        "retryAfterSeconds": None,
        "message": "No price",
        "receipt": {"policyId": "starter"},
    }
    reply = await activity.create()
    assert (reply.status, reply.json) == (500, {"error": "Internal server error"})
    assert await activity.rows("plan_play") == []
    said = capsys.readouterr().out
    assert all(word in said for word in ("event_type_not_sold", "plan_play.created", "starter"))


LIMITS = [
    {"name": "per minute", "limit": 100, "remaining": 96, "resetSeconds": 4},
    {"name": 'a "daily" \u00e9', "limit": 5, "remaining": 0, "resetSeconds": 7200},
    {"name": "vast", "limit": 2**53, "remaining": 2**53 - 1, "resetSeconds": 9},
]
# Integers of structured fields have 15 digits at most.
RATE_LIMIT = '"per minute";r=96;t=4, "a \\"daily\\" ?";r=0;t=7200, "vast";r=999999999999999;t=9'


async def test_what_is_left_of_each_limit_is_told_on_billable_calls(activity: Activity) -> None:
    activity.metering.limits = LIMITS
    reply = await activity.create(key="k")
    assert reply.status == 201
    assert reply.headers["RateLimit"] == RATE_LIMIT
    policy = '"per minute";q=100, "a \\"daily\\" ?";q=5, "vast";q=999999999999999'
    assert reply.headers["RateLimit-Policy"] == policy
    play = reply.json["data"]["id"]
    ended = await activity.update(play, status="ended")
    assert (ended.status, ended.headers["RateLimit"]) == (200, RATE_LIMIT)
    # Nothing was decided for these.
    for free in (
        await activity.create(key="k"),
        await activity.update(play, currentLessonIndex=1),
        await activity.read(play),
    ):
        assert "RateLimit" not in free.headers
    activity.metering.refusal = {"code": "api_rate_limited", "retryAfterSeconds": 3, "limits": LIMITS}
    refused = await activity.create()
    assert (refused.status, refused.headers["Retry-After"], refused.headers["RateLimit"]) == (429, "3", RATE_LIMIT)


async def test_a_limit_that_is_no_limit_is_no_answer(activity: Activity) -> None:
    activity.metering.limits = [{"name": "x", "limit": 1, "remaining": "many", "resetSeconds": 4}]
    assert (await activity.create()).status == 500
