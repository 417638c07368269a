"""Idempotency-Key: one key of one caller is one play, one bill, one answer."""

import asyncio
from typing import Any

from tests.activity_service.activity import Activity, Reply
from tests.activity_service.conftest import StartActivity
from tests.activity_service.metering_double import Gate


def assert_replays(reply: Reply, first: Reply) -> None:
    assert (reply.status, reply.body) == (201, first.body)
    assert reply.headers["Idempotency-Replayed"] == "true"


async def test_the_same_key_and_body_get_the_first_answer_byte_for_byte(activity: Activity) -> None:
    first = await activity.create(key="k1", userId="user-1", plannedLessons=["a", "b"])
    await activity.update(first.play["id"], status="paused")
    again = await activity.create(key="k1", userId="user-1", plannedLessons=["a", "b"])
    await activity.settle_all()

    assert first.status == 201
    assert "Idempotency-Replayed" not in first.headers
    assert_replays(again, first)
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 1


async def test_a_replay_is_answered_while_metering_is_away_and_while_it_refuses(activity: Activity) -> None:
    first = await activity.create(key="k1")
    await activity.settle_all()
    for status in (503, 500, 401):
        activity.metering.says["authorize"] = (status, b"")
        assert_replays(await activity.create(key="k1"), first)
    del activity.metering.says["authorize"]
    activity.metering.holds.clear()
    activity.metering.refusal = {"code": "api_rate_limited", "retryAfterSeconds": 3}
    assert_replays(await activity.create(key="k1"), first)
    assert (await activity.create(key="k2")).status == 429


async def test_a_replay_is_the_first_response_whatever_became_of_the_play(activity: Activity) -> None:
    first = await activity.create(key="k1", userId="u", email="a@b.example", plannedLessons=["a", "b"])
    for changes in (
        {"status": "paused", "currentLessonIndex": 1, "completedLessons": ["a"]},
        {"status": "ended", "totalLessonsCompleted": 2, "lastPlayedAt": "2026-01-01T00:00:00Z"},
        {"status": "active", "completedLessonPlays": ["x"]},
    ):
        assert (await activity.update(first.play["id"], **changes)).status == 200
        assert_replays(
            await activity.create(key="k1", userId="u", email="a@b.example", plannedLessons=["a", "b"]), first
        )


async def test_the_order_of_names_and_null_for_absent_make_no_other_body(activity: Activity) -> None:
    first = await activity.call(
        "POST", "/api/plan-plays", key="k1", data=b'{"planId":"p","email":"a@b.example"}', headers=JSON
    )
    again = await activity.call(
        "POST",
        "/api/plan-plays",
        key="k1",
        data=b'{ "email": "a@b.example", "riskLevel": null, "planId": "\\u0070" }',
        headers=JSON,
    )

    assert_replays(again, first)


JSON = {"Content-Type": "application/json"}


async def test_the_same_key_with_another_body_is_400_and_has_no_effect(activity: Activity) -> None:
    body: dict[str, Any] = {"userId": "user-1", "plannedLessons": ["a", "b"]}
    others: list[dict[str, Any]] = [
        {"planId": "plan-2"},
        {"plannedLessons": []},
        {"plannedLessons": ["b", "a"]},
        {"userId": "user-2"},
    ]
    await activity.create(key="k1", **body)
    before = await activity.rows("plan_play")

    for other in others:
        reply = await activity.create(key="k1", **{**body, **other})
        assert reply.status == 400, other
        assert [detail["field"] for detail in reply.json["details"]] == ["Idempotency-Key"]
    assert await activity.rows("plan_play") == before


async def test_keys_of_other_clients_and_users_are_other_keys(activity: Activity) -> None:
    tokens = [
        activity.issuer.issue("client-a"),
        activity.issuer.issue("client-b"),
        activity.issuer.issue("client-a", "user-1"),
        activity.issuer.issue("client-a", "user-2"),
        # Compositions that a careless one would take for each other.
        activity.issuer.issue("client", "a"),
        activity.issuer.issue("clienta"),
    ]
    ids = {(await activity.create_play(token=token, key="same"))["id"] for token in tokens}

    assert len(ids) == len(tokens)


async def test_refusals_are_not_remembered(activity: Activity) -> None:
    activity.metering.refusal = {"code": "api_rate_limited", "retryAfterSeconds": 1}
    refused = await activity.create(key="k1")
    activity.metering.refusal = None
    activity.metering.says["authorize"] = (500, b"{}")
    failed = await activity.create(key="k1")
    del activity.metering.says["authorize"]
    invalid = await activity.create(key="k1", email="no address")
    created = await activity.create(key="k1")

    assert [refused.status, failed.status, invalid.status, created.status] == [429, 500, 400, 201]
    assert "Idempotency-Replayed" not in created.headers


async def test_a_retry_after_a_lost_grant_is_one_play_and_one_bill(activity: Activity) -> None:
    activity.metering.says["authorize"] = (200, b"{")
    assert (await activity.create(key="k1")).status == 500
    del activity.metering.says["authorize"]

    assert (await activity.create(key="k1")).status == 201
    await activity.settle_all()
    assert activity.metering.states() == ["released", "settled"]
    assert len(activity.metering.charges) == 1


async def test_50_parallel_creates_with_one_key_are_one_play_one_bill_and_one_body(activity: Activity) -> None:
    replies = await asyncio.gather(*(activity.create(key="k1", userId="user-1") for _ in range(50)))
    await activity.settle_all()

    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == 1
    assert sum("Idempotency-Replayed" not in reply.headers for reply in replies) == 1
    assert len(await activity.rows("plan_play")) == 1
    assert await activity.outcomes() == []
    assert list(activity.metering.charges.values()) == [1]


async def test_one_key_at_two_processes_at_once_is_one_play(
    activity: Activity, start_activity: StartActivity
) -> None:
    other = await start_activity()
    gate = activity.metering.answered["authorize"]
    gate.close()
    requests = [asyncio.create_task(each.create(key=f"k{n}")) for n in range(10) for each in (activity, other)]
    await gate.reached.wait()
    gate.open()
    replies = await asyncio.gather(*requests)

    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == len(await activity.rows("plan_play")) == 10


async def test_the_same_key_with_another_body_at_once_is_refused_or_first_but_never_both(activity: Activity) -> None:
    replies = await asyncio.gather(*(activity.create(key="k1", planId=f"plan-{n}") for n in range(10)))
    await activity.settle_all()

    assert sorted(reply.status for reply in replies) == [201] + [400] * 9
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 1


async def authorize_and_stop(
    activity: Activity, start_activity: StartActivity, user_id: str
) -> tuple[asyncio.Task[Reply], Gate]:
    """Begin a create with the key k1 in another process; metering's answer to it waits until the gate is opened.

    Answers to later questions do not wait.
    """
    other = await start_activity()
    gate = activity.metering.answered["authorize"]
    gate.close()
    creating = asyncio.create_task(other.create(key="k1", userId=user_id))
    await gate.reached.wait()
    activity.metering.answered["authorize"] = Gate()
    return creating, gate


async def test_a_twin_with_another_user_that_metering_takes_for_a_conflict_is_400_once_the_first_is_there(
    activity: Activity, start_activity: StartActivity
) -> None:
    """Both have looked for a stored response before either was there; the second one's event has other content."""
    slow, gate = await authorize_and_stop(activity, start_activity, "user-2")
    # As if the slow one's question had come after the fast one's fact.
    activity.metering.holds.clear()
    assert (await activity.create(key="k1", userId="user-1")).status == 201
    hold_id = next(iter(activity.metering.holds))
    activity.metering.says["authorize"] = (
        200,
        b'{"decisions":[{"holdId":"%b","eventId":"%b","decision":"conflict"}]}'
        % (hold_id.encode(), activity.metering.holds[hold_id].event["eventId"].encode()),
    )
    gate.open()

    reply = await slow
    assert reply.status == 400
    assert reply.json["details"][0]["field"] == "Idempotency-Key"


async def test_a_key_in_use_for_another_user_is_400_before_the_first_is_there(
    activity: Activity, start_activity: StartActivity
) -> None:
    slow, gate = await authorize_and_stop(activity, start_activity, "user-1")
    reply = await activity.create(key="k1", userId="user-2")
    assert (reply.status, reply.json["details"][0]["field"]) == (400, "Idempotency-Key")
    gate.open()
    assert (await slow).status == 201
    await activity.settle_all()
    assert len(await activity.rows("plan_play")) == len(activity.metering.charges) == 1


async def test_a_key_that_is_none_is_400_naming_the_header(activity: Activity) -> None:
    for key in ("", " ", "a b", "x" * 256, "schlüssel", "a\tb"):
        reply = await activity.create(key=key)
        assert reply.status == 400, key
        assert [detail["field"] for detail in reply.json["details"]] == ["Idempotency-Key"]
    assert await activity.rows("plan_play") == []


async def test_several_keys_are_400_naming_the_header(activity: Activity) -> None:
    headers = [("Authorization", f"Bearer {activity.issuer.issue()}"), *[("Idempotency-Key", "k")] * 2]
    async with activity.client.post("/api/plan-plays", json={"planId": "p"}, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["details"][0]["field"] == "Idempotency-Key"


async def test_every_visible_key_works(activity: Activity) -> None:
    for key in ("!", "x" * 255, "8e03978e-40d5-43e8-bc93-6894a57f9324", '"quoted"', "~"):
        first = await activity.create(key=key)
        assert_replays(await activity.create(key=key), first)
