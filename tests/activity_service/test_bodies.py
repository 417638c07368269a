"""Bodies and paths nobody should send: a 4xx in this API's shape that names the field, and never half a write."""

import io
from typing import Any

import orjson

from tests.activity_service.activity import Activity, Reply

CREATE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"planId": None}, "planId"),
    ({"planId": ""}, "planId"),
    ({"planId": 7}, "planId"),
    ({"planId": ["plan-1"]}, "planId"),
    ({"planId": "x" * 256}, "planId"),
    ({"userId": ""}, "userId"),
    ({"userId": {"id": 1}}, "userId"),
    ({"userId": "x" * 256}, "userId"),
    ({"plannedLessons": "lesson"}, "plannedLessons"),
    ({"plannedLessons": {"0": "lesson"}}, "plannedLessons"),
    ({"plannedLessons": ["a", 1]}, "plannedLessons.1"),
    ({"plannedLessons": ["a", None]}, "plannedLessons.1"),
    ({"plannedLessons": [["a"]]}, "plannedLessons.0"),
    ({"plannedLessons": [""]}, "plannedLessons.0"),
    ({"plannedLessons": ["x" * 256]}, "plannedLessons.0"),
    ({"plannedLessons": ["a"] * 1001}, "plannedLessons"),
    ({"email": "nobody"}, "email"),
    ({"email": "a@b"}, "email"),
    ({"email": "a" * 250 + "@b.example"}, "email"),
    ({"email": True}, "email"),
    ({"photoURL": "javascript:alert(1)"}, "photoURL"),
    ({"photoURL": "/relative.png"}, "photoURL"),
    ({"photoURL": "https://example.com/" + "x" * 2048}, "photoURL"),
    ({"displayName": 1.5}, "displayName"),
    ({"displayName": ""}, "displayName"),
    ({"assignmentSource": []}, "assignmentSource"),
    ({"riskLevel": False}, "riskLevel"),
    ({"status": "ended"}, "status"),
    ({"clientId": "client-b"}, "clientId"),
    ({"id": "0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11"}, "id"),
    ({"plan_id": "snake"}, "plan_id"),
]

CHANGE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "body"),
    ({"completedAt": None}, "body"),
    ({"status": "done"}, "status"),
    ({"status": ""}, "status"),
    ({"status": 1}, "status"),
    ({"status": ["ended"]}, "status"),
    ({"currentLessonIndex": -1}, "currentLessonIndex"),
    ({"currentLessonIndex": 1.0}, "currentLessonIndex"),
    ({"currentLessonIndex": 1.5}, "currentLessonIndex"),
    ({"currentLessonIndex": True}, "currentLessonIndex"),
    ({"currentLessonIndex": "1"}, "currentLessonIndex"),
    ({"currentLessonIndex": 2**31}, "currentLessonIndex"),
    ({"totalLessonsCompleted": 2**62}, "totalLessonsCompleted"),
    ({"totalLessonsCompleted": []}, "totalLessonsCompleted"),
    ({"completedLessons": [1]}, "completedLessons.0"),
    ({"completedLessonPlays": "x"}, "completedLessonPlays"),
    ({"completedAt": "2026-01-02T03:04:05"}, "completedAt"),
    ({"completedAt": "2026-01-02"}, "completedAt"),
    ({"completedAt": "2026-02-30T00:00:00Z"}, "completedAt"),
    ({"completedAt": "2026-01-02T25:00:00Z"}, "completedAt"),
    ({"completedAt": "0001-01-01T00:00:00+14:00"}, "completedAt"),
    ({"completedAt": "9999-12-31T23:59:59-14:00"}, "completedAt"),
    ({"completedAt": "0001-01-01T00:00:00Z"}, "completedAt"),
    ({"completedAt": "9999-12-31T23:59:59.999999Z"}, "completedAt"),
    ({"completedAt": "-infinity"}, "completedAt"),
    ({"completedAt": 1735787045}, "completedAt"),
    ({"completedAt": "yesterday"}, "completedAt"),
    ({"lastPlayedAt": "٢٠٢٦-01-02T03:04:05Z"}, "lastPlayedAt"),
    ({"planId": "plan-2"}, "planId"),
    ({"userId": "user-2"}, "userId"),
    ({"email": "a@b.example"}, "email"),
    ({"status": "paused", "createdAt": "2026-01-02T03:04:05Z"}, "createdAt"),
]

RAW_FAULTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{'planId': 'p'}",
    b'{"planId":"p",}',
    b'{"planId":"p","planId":"q"}',
    b'{"planId":"a\\u0000b"}',
    b'{"planId":"a\x00b"}',
    b'{"planId":"\\ud800"}',
    b'{"planId":"\xff"}',
    b'{"planId":"p","riskLevel":NaN}',
    b'{"planId":"p","riskLevel":1e999}',
    b'{"planId":"p","riskLevel":' + b"9" * 5000 + b"}",
    b"[" * 20_000 + b"]" * 20_000,
    b'{"plannedLessons":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'\xef\xbb\xbf{"planId":"p"}',
    '{"planId":"p"}'.encode("utf-16"),
]

JSON = {"Content-Type": "application/json"}


def assert_names(reply: Reply, field: str, case: object) -> None:
    assert reply.status == 400, case
    assert reply.json["error"] == "Invalid request"
    assert field in [detail["field"] for detail in reply.json["details"]], (case, reply.json)
    assert all(detail["message"] for detail in reply.json["details"])


async def test_a_wrong_field_of_a_create_is_named_and_nothing_is_stored_or_asked(activity: Activity) -> None:
    for fault, field in CREATE_FAULTS:
        assert_names(await activity.create(key="k", **fault), field, fault)

    assert await activity.rows("plan_play") == []
    assert activity.metering.events_of("authorize") == []


async def test_a_wrong_field_of_a_change_is_named_and_nothing_changes(activity: Activity) -> None:
    play = await activity.create_play()
    for fault, field in CHANGE_FAULTS:
        assert_names(await activity.update(play["id"], **fault), field, fault)

    assert (await activity.read(play["id"])).play == play
    assert len(activity.metering.events_of("authorize")) == 1


async def test_all_wrong_fields_are_named_at_once(activity: Activity) -> None:
    reply = await activity.create(planId=1, email="x", colour="blue")

    assert {detail["field"] for detail in reply.json["details"]} == {"planId", "email", "colour"}


async def test_text_that_is_no_strict_json_object_is_400(activity: Activity) -> None:
    play = await activity.create_play()
    for raw in RAW_FAULTS:
        for method, path in (("POST", "/api/plan-plays"), ("PATCH", f"/api/plan-plays/{play['id']}")):
            assert_names(await activity.call(method, path, data=raw, headers=JSON), "body", raw[:60])
    assert len(await activity.rows("plan_play")) == 1


async def test_the_longest_values_are_stored_as_they_came(activity: Activity) -> None:
    body = {
        "planId": "🎉" * 255,
        "userId": "é" * 255,
        "plannedLessons": ["x" * 30] * 1000,
        "displayName": "'; DROP TABLE plan_play; --",
        "photoURL": "http://localhost:8080/a?b=c#d",
        "email": "o'hara+tag@xn--bcher-kva.example",
        "riskLevel": "\t\n\u2028\u202e",
    }
    play = await activity.create_play(**body)

    assert {name: play[name] for name in body} == body
    assert (await activity.read(play["id"])).play == play


async def test_largest_numbers_and_far_dates_are_stored_as_they_came(activity: Activity) -> None:
    play = await activity.create_play()
    moments = {
        "1900-01-01T00:00:00Z": "1900-01-01T00:00:00Z",
        "9998-12-31T23:59:59.999999Z": "9998-12-31T23:59:59.999999Z",
        "2026-01-02T03:04-05:30": "2026-01-02T08:34:00Z",
        "2026-01-02T03:04:05.123456789Z": "2026-01-02T03:04:05.123456Z",
    }
    for sent, shown in moments.items():
        changed = await activity.update(play["id"], currentLessonIndex=2**31 - 1, lastPlayedAt=sent)
        assert (changed.status, changed.play["lastPlayedAt"]) == (200, shown)
        assert changed.play["currentLessonIndex"] == 2**31 - 1


async def test_another_content_type_is_415(activity: Activity) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        reply = await activity.call(
            "POST", "/api/plan-plays", data=b'{"planId":"p"}', headers={"Content-Type": content_type}
        )
        assert (reply.status, list(reply.json)) == (415, ["error"]), content_type
    zipped = await activity.call("POST", "/api/plan-plays", data=b"{}", headers={**JSON, "Content-Encoding": "gzip"})
    assert zipped.status == 415


async def test_a_body_that_is_too_large_is_413(activity: Activity) -> None:
    huge = orjson.dumps({"planId": "x" * 10_000_000})
    reply = await activity.call("POST", "/api/plan-plays", data=io.BytesIO(huge), headers=JSON)
    assert (reply.status, reply.json) == (413, {"error": "Request body too large"})

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    reply = await activity.call("POST", "/api/plan-plays", data=chunks(), headers=JSON)
    assert (reply.status, list(reply.json)) == (413, ["error"])


async def test_wrong_paths_and_methods_are_404_and_405(activity: Activity) -> None:
    for method, path, status in (
        ("GET", "/api/plan-play", 404),
        ("GET", "/api", 404),
        ("GET", "/api/plan-plays/", 404),
        ("DELETE", "/api/plan-plays", 405),
        ("PUT", "/api/plan-plays/7", 405),
    ):
        reply = await activity.call(method, path)
        assert (reply.status, list(reply.json)) == (status, ["error"]), path
