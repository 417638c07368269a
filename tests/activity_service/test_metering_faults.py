"""Metering down, slow, or talking nonsense: 500 within a bound, nothing created, never a false 429."""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.ports import choose_free_port
from metering_client.answers import read_decisions
from metering_client.errors import EventConflict, EventRefused, MalformedResponse, MeteringUnavailable
from metering_client.event import BillableEvent
from metering_client.sweeper import Sweeper
from service_chassis.errors import ServiceError
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity

FAULT = {"error": "Internal server error"}
HOLD = "0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11"
EVENT = BillableEvent(HOLD, "plan_play.created:x", "client-a", "plan_play.created")


def decision(**fields: Any) -> bytes:
    entry = {"holdId": HOLD, "eventId": "plan_play.created:x", "decision": "granted", **fields}
    return orjson.dumps({"decisions": [{k: v for k, v in entry.items() if v != "absent"}]})


NONSENSE = [
    (200, b""),
    (200, b"not json"),
    (200, b"null"),
    (200, b"[]"),
    (200, b"{}"),
    (200, b'{"decisions":null}'),
    (200, b'{"decisions":{}}'),
    (200, b'{"decisions":[]}'),
    (200, b'{"decisions":[null]}'),
    (200, b'{"decisions":[{}]}'),
    (200, b'{"decisions":[{},{}]}'),
    (200, b"\xff\xfe"),
    (201, decision()),
    (204, b""),
    (301, b""),
    (400, b"{}"),
    (401, b"{}"),
    (404, b"{}"),
    (429, b'{"code":"api_rate_limited","retryAfterSeconds":1}'),
    (500, b"{}"),
    (503, b"<html>"),
    (200, decision(eventId="another")),
    (200, decision(decision="denied", code="api_rate_limited", retryAfterSeconds="5")),
]


async def nothing_happened(activity: Activity) -> bool:
    return await activity.rows("plan_play") == await activity.rows("billable_event") == []


async def test_nonsense_is_500_and_creates_nothing(activity: Activity) -> None:
    for said in NONSENSE:
        activity.metering.says["authorize"] = said
        reply = await activity.create()
        assert (reply.status, reply.json) == (500, FAULT), said
        assert "Retry-After" not in reply.headers
    assert await nothing_happened(activity)


async def test_conflict_and_invalid_are_500(activity: Activity) -> None:
    gate = activity.metering.answered["authorize"]
    for word in ("conflict", "invalid", "maybe", "absent", None, ["granted"]):
        gate.close()
        request = asyncio.create_task(activity.create())
        await gate.reached.wait()
        event = activity.metering.events_of("authorize")[-1]
        activity.metering.says["authorize"] = (200, decision(eventId=event["eventId"], decision=word))
        gate.open()
        assert (await request).status == 500, word
    assert await nothing_happened(activity)


async def test_metering_that_is_away_is_500_within_the_deadline_and_reads_go_on(
    activity: Activity, start_activity: StartActivity
) -> None:
    play = await activity.create_play()
    other = await start_activity(metering_url=f"http://127.0.0.1:{choose_free_port()}", metering_deadline_seconds=0.3)
    began = time.monotonic()
    replies = await asyncio.gather(
        other.create(),
        other.create(key="k"),
        other.update(play["id"], status="ended"),
        *(other.create() for _ in range(9)),
    )
    seconds = time.monotonic() - began

    assert [(reply.status, reply.json) for reply in replies] == [(500, FAULT)] * 12
    assert seconds < 2
    assert (await other.read(play["id"])).play == play
    assert (await other.list_plays()).json["count"] == 1
    assert (await other.update(play["id"], status="paused")).status == 200


async def test_metering_that_stalls_is_500_within_the_deadline_also_for_those_behind(
    start_activity: StartActivity,
) -> None:
    activity = await start_activity(metering_deadline_seconds=0.3)
    gate = activity.metering.answered["authorize"]
    gate.close()
    began = time.monotonic()
    first = asyncio.create_task(activity.create())
    await gate.reached.wait()
    behind = [asyncio.create_task(activity.create()) for _ in range(5)]
    replies = await asyncio.gather(first, *behind)

    assert [reply.status for reply in replies] == [500] * 6
    assert time.monotonic() - began < 2
    assert await nothing_happened(activity)
    gate.open()
    assert (await activity.create()).status == 201


async def test_a_lost_connection_is_tried_again_with_the_same_hold(
    start_activity: StartActivity, settings: Any
) -> None:
    """The first connection is closed on sight, as a restarting server does; what comes after it is let through."""
    target = settings.metering_url.removeprefix("http://").rstrip("/").split(":")
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            back, forth = await asyncio.open_connection(target[0], int(target[1]))
            forth.write(await reader.read(65536))
            writer.write(await back.read(65536))
            await writer.drain()
            forth.close()
        else:
            await reader.read(65536)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    activity = await start_activity(metering_url=f"http://127.0.0.1:{port}", metering_deadline_seconds=1.0)
    try:
        assert (await activity.create()).status == 201
    finally:
        server.close()
    assert connections > 1
    assert len(activity.metering.holds) == 1


async def test_a_grant_whose_answer_came_too_late_is_given_back_by_the_sweeper(
    start_activity: StartActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity = await start_activity(metering_deadline_seconds=0.2)
    gate = activity.metering.answered["authorize"]
    # The process dies before it can give back what it gave up.
    monkeypatch.setattr(Sweeper, "give_back", lambda _, __: None)
    gate.close()
    assert (await activity.create()).status == 500
    gate.open()
    assert activity.metering.states() == ["held"]

    await activity.sweep()
    assert activity.metering.states() == ["released"]
    assert await activity.outcomes() == ["abandoned"]
    assert await activity.rows("plan_play") == []


async def test_failures_are_counted(activity: Activity) -> None:
    before = activity.metric("activity_metering_failures_total", call="authorize")
    activity.metering.says["authorize"] = (503, b"")
    await activity.create()

    assert activity.metric("activity_metering_failures_total", call="authorize") == before + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "holdId": st.just(HOLD) | json_values,
        "eventId": st.just(EVENT.event_id) | json_values,
        "decision": st.sampled_from(["granted", "denied", "conflict", "invalid"]) | json_values,
        "code": st.sampled_from(["api_rate_limited", "api_quota_exceeded", "other"]) | json_values,
        "retryAfterSeconds": st.integers() | json_values,
        "message": json_values,
    },
)


@given(st.fixed_dictionaries({"decisions": st.lists(entries | json_values, max_size=2)}) | json_values)
def test_no_answer_whatsoever_is_a_grant_or_a_refusal_unless_it_is_well_formed(answer: Any) -> None:
    try:
        outcomes = read_decisions(answer, [EVENT])
    except MalformedResponse:
        return
    [outcome], [entry] = outcomes, answer["decisions"]
    checks: dict[type, Callable[[Any], bool]] = {
        UUID: lambda found: entry["decision"] == "granted" and str(found) == str(UUID(entry["holdId"])),
        EventRefused: lambda found: (
            entry["decision"] == "denied"
            and entry["code"].startswith("api_")
            and (found.retry_after_seconds is None or type(found.retry_after_seconds) is int)
        ),
        EventConflict: lambda _: entry["decision"] in ("conflict", "invalid"),
        MeteringUnavailable: lambda _: True,
    }
    assert checks[type(outcome)](outcome)
    assert isinstance(outcome, UUID | ServiceError)
