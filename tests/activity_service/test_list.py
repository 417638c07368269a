"""GET /api/plan-plays and GET /api/plan-plays/{id}: who sees what, in which order, in how many pieces.

Long because lists have many parameters, and each of them is tried alone and together.
"""

import asyncio
import gc
import tracemalloc
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import pytest

from activity_service.plays.plan_play import PlanPlayFilter, Position
from activity_service.plays.read import STREAM_BATCH_PLAYS
from activity_service.plays.store import PlanPlayStore
from service_chassis.http import stream
from service_chassis.http.cursor import encode_cursor
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity
from tests.activity_service.database_proxy import DatabaseProxy

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


async def insert_plays(activity: Activity, count: int, client: str = "client-a", lessons: int = 0) -> None:
    """Put plays into the table, a second apart, without asking anybody."""
    await activity.pool.execute(
        """
        INSERT INTO plan_play (id, client_id, user_id, plan_id, status, planned_lessons, current_lesson_index,
            completed_lessons, completed_lesson_plays, total_lessons_completed, created_at, updated_at)
        SELECT gen_random_uuid(), $1, 'user-' || n % 3, 'plan-' || n % 2, 'active',
               array_fill(repeat('x', 100), ARRAY[$4::integer]), n, '{}', '{}', 0,
               $2::timestamptz + make_interval(secs => n), $2
        FROM generate_series(1, $3::integer) AS n
        """,
        client,
        FIRST_DAY,
        count,
        lessons,
    )


def place(play: dict[str, Any]) -> tuple[datetime, str]:
    """Return where a play stands in a list; others' plays may have been created in the same instant."""
    return datetime.fromisoformat(play["createdAt"]), play["id"]


def indexes(document: dict[str, Any]) -> list[int]:
    return [play["currentLessonIndex"] for play in document["data"]]


async def test_a_play_is_read_by_its_client_and_its_user_only(activity: Activity) -> None:
    play = await activity.create_play(userId="user-1")
    unowned = await activity.create_play()

    for token in (activity.issuer.issue(), activity.issuer.issue(user="user-1")):
        assert (await activity.read(play["id"], token=token)).play == play
    partner = activity.issuer.issue("client-b", scope="plan_plays plan_plays:all_clients")
    for token in (activity.issuer.issue("client-b"), activity.issuer.issue(user="user-2"), partner):
        denied = await activity.read(play["id"], token=token)
        assert (denied.status, denied.json) == (403, {"error": "Access denied"})
    assert (await activity.read(unowned["id"], token=activity.issuer.issue(user="user-1"))).status == 403


NO_PLAYS_ID = [
    "0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11",
    "7",
    "x" * 300,
    "%00",
    "0197f0d28a517c3e9b1a6a9e0a4f2b11",
    "%F0%9F%8E%89",
    "%FF",
]


async def test_ids_that_no_play_has_are_404(activity: Activity) -> None:
    for play_id in NO_PLAYS_ID:
        for method in ("GET", "PATCH"):
            reply = await activity.call(method, f"/api/plan-plays/{play_id}", json={"status": "active"})
            assert (reply.status, reply.json) == (404, {"error": "Plan play not found"}), play_id


async def test_ids_are_read_in_either_case(activity: Activity) -> None:
    play = await activity.create_play()

    assert (await activity.read(play["id"].upper())).play == play


async def test_a_list_holds_the_clients_plays_newest_first(activity: Activity) -> None:
    plays = [await activity.create_play(planId=f"plan-{n}") for n in range(3)]
    await activity.create_play(token=activity.issuer.issue("client-b"))

    reply = await activity.list_plays()

    assert reply.json == {"data": plays[::-1], "count": 3}


async def test_an_empty_list_is_one(activity: Activity) -> None:
    assert (await activity.list_plays()).json == {"data": [], "count": 0}
    assert (await activity.list_plays(limit=5)).json == {"data": [], "count": 0, "nextCursor": None}


async def test_filters_narrow_and_a_value_that_no_play_has_matches_nothing(activity: Activity) -> None:
    await insert_plays(activity, 12)
    play = await activity.create_play(userId="user-1", planId="plan-1")
    await activity.update(play["id"], status="paused")

    assert (await activity.list_plays(userId="user-1")).json["count"] == 5
    assert (await activity.list_plays(planId="plan-1")).json["count"] == 7
    assert (await activity.list_plays(userId="user-1", planId="plan-1")).json["count"] == 3
    assert (await activity.list_plays(status="paused")).json["data"][0]["id"] == play["id"]
    assert (await activity.list_plays(status="paused", userId="user-2")).json == {"data": [], "count": 0}
    assert (await activity.list_plays(planId="")).json["count"] == 0
    for status in ("done", "Active", ""):
        assert (await activity.list_plays(status=status)).json == {"data": [], "count": 0}


async def test_a_user_token_lists_its_own_plays_only(activity: Activity) -> None:
    await insert_plays(activity, 12)
    token = activity.issuer.issue(user="user-1")

    assert {play["userId"] for play in (await activity.list_plays(token=token)).json["data"]} == {"user-1"}
    assert (await activity.list_plays(token=token, userId="user-1")).json["count"] == 4
    assert (await activity.list_plays(token=token, userId="user-2")).json == {"data": [], "count": 0}
    assert (await activity.list_plays(token=token, userId="user-2", limit=1)).json["count"] == 0


async def test_client_id_counts_only_with_the_permission(activity: Activity) -> None:
    await insert_plays(activity, 2, "client-a")
    await insert_plays(activity, 3, "client-b")
    partner = activity.issuer.issue("client-p", scope="plan_plays plan_plays:all_clients")

    assert (await activity.list_plays(clientId="client-b")).json["count"] == 2
    assert (await activity.list_plays(token=partner, clientId="client-b")).json["count"] == 3
    assert (await activity.list_plays(token=partner)).json["count"] == 0
    user = activity.issuer.issue("client-p", "user-1", "plan_plays plan_plays:all_clients")
    assert (await activity.list_plays(token=user, clientId="client-b")).json["count"] == 1


async def test_pages_hold_every_play_once_also_those_of_one_moment(activity: Activity) -> None:
    await insert_plays(activity, 10)
    await activity.pool.execute("UPDATE plan_play SET created_at = $1 WHERE current_lesson_index < 8", FIRST_DAY)
    whole = (await activity.list_plays()).json["data"]

    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for size in (3, 3, 3, 1):
        page = (await activity.list_plays(limit=3, **cursor)).json
        assert page["count"] == len(page["data"]) == size
        seen += page["data"]
        cursor = {"cursor": page["nextCursor"]}
    assert seen == whole
    assert cursor == {"cursor": None}


async def test_a_page_that_ends_the_list_exactly_has_no_next_cursor(activity: Activity) -> None:
    await insert_plays(activity, 4)

    assert (await activity.list_plays(limit=4)).json["nextCursor"] is None
    assert (await activity.list_plays(limit=3)).json["nextCursor"] is not None
    assert (await activity.list_plays(limit=1000)).json["count"] == 4


async def test_a_new_play_does_not_shift_the_pages_behind_it(activity: Activity) -> None:
    await insert_plays(activity, 6)
    first = (await activity.list_plays(limit=3)).json
    await activity.create_play()
    second = (await activity.list_plays(limit=3, cursor=first["nextCursor"])).json

    assert indexes(first) + indexes(second) == [6, 5, 4, 3, 2, 1]


async def test_a_cursor_of_another_list_goes_on_in_the_callers_own_list_and_shows_nothing_else(
    activity: Activity,
) -> None:
    """A cursor is a place in time and no permission: whose plays a list holds follows from the token alone."""
    await insert_plays(activity, 6)
    await insert_plays(activity, 4, "client-b")
    page = (await activity.list_plays(limit=3)).json
    foreign, last = page["nextCursor"], page["data"][-1]
    partner = activity.issuer.issue("client-p", scope="plan_plays plan_plays:all_clients")

    attempts: list[tuple[str, str | None, dict[str, str]]] = [
        ("client-b", None, {}),
        ("client-b", "user-1", {}),
        ("client-a", "user-2", {"userId": "user-2", "status": "active"}),
    ]
    for client, user, query in attempts:
        reply = await activity.list_plays(
            token=activity.issuer.issue(client, user), limit=10, cursor=foreign, **query
        )
        whole = (await activity.list_plays(token=activity.issuer.issue(client, user), **query)).json["data"]
        assert reply.json["data"] == [play for play in whole if place(play) < place(last)]
        assert {play["clientId"] for play in reply.json["data"]} == {client}
    own = await activity.list_plays(token=partner, limit=10, cursor=foreign)
    assert own.json["data"] == []
    assert (await activity.list_plays(limit=2, cursor=foreign)).json["count"] == 2


UNUSABLE = [
    ("user_id=user-1", "user_id"),
    ("planid=plan-1&limit=1", "planid"),
    ("limit=0", "limit"),
    ("limit=1001", "limit"),
    ("limit=-1", "limit"),
    ("limit=1.5", "limit"),
    ("limit=%D9%A3", "limit"),
    ("limit=1e2", "limit"),
    ("limit=05", "limit"),
    ("limit=%2B5", "limit"),
    ("limit=99999999999999999999", "limit"),
    ("limit=", "limit"),
    ("limit=5&limit=6", "limit"),
    ("status=active&status=ended", "status"),
    ("limit=5&cursor=nonsense", "cursor"),
    ("limit=5&cursor=", "cursor"),
    ("limit=5&cursor=%C3%A9", "cursor"),
    (f"limit=5&cursor={encode_cursor('2026-01-01T00:00:00Z')}", "cursor"),
    (f"limit=5&cursor={encode_cursor('2026-01-01T00:00:00', uuid.UUID(int=7))}", "cursor"),
    (f"limit=5&cursor={encode_cursor('0001-01-01T00:00:00+14:00', uuid.UUID(int=7))}", "cursor"),
    (f"limit=5&cursor={encode_cursor('2026-01-01T00:00:00Z', 'no id')}", "cursor"),
    (f"limit=5&cursor={encode_cursor('2026-01-01T00:00:00Z', uuid.UUID(int=7))}%3D", "cursor"),
    ("cursor=abc", "cursor"),
    ("userId=%00", "userId"),
    ("planId=a%00b", "planId"),
]


async def test_a_parameter_that_cannot_be_used_is_400_and_named(activity: Activity) -> None:
    for query, field in UNUSABLE:
        reply = await activity.call("GET", f"/api/plan-plays?{query}")
        assert reply.status == 400, query
        assert [detail["field"] for detail in reply.json["details"]] == [field], query


async def test_a_cursor_at_either_end_of_the_calendar_is_a_place_like_any_other(activity: Activity) -> None:
    await insert_plays(activity, 2)
    for moment, count in (("0001-01-01T00:00:00+00:00", 0), ("9999-12-31T23:59:59.999999+00:00", 2)):
        reply = await activity.list_plays(limit=5, cursor=encode_cursor(moment, uuid.UUID(int=7)))
        assert (reply.status, reply.json["count"]) == (200, count)


async def test_a_long_list_is_streamed_whole_and_in_order(activity: Activity) -> None:
    count = 3 * STREAM_BATCH_PLAYS + 7
    await insert_plays(activity, count)

    reply = await activity.list_plays()

    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert reply.json["count"] == count
    assert indexes(reply.json) == list(range(count, 0, -1))
    assert "X-Request-ID" in reply.headers


async def test_lists_around_the_size_of_a_batch_are_whole(activity: Activity) -> None:
    for extra in (-1, 0, 1):
        count, client = STREAM_BATCH_PLAYS + extra, f"client{extra}"
        await insert_plays(activity, count, client)
        reply = await activity.list_plays(token=activity.issuer.issue(client))
        assert indexes(reply.json) == list(range(count, 0, -1))


async def test_a_stream_takes_the_memory_of_some_batches_not_of_the_list(activity: Activity) -> None:
    await insert_plays(activity, 10_000, lessons=10)
    headers = {"Authorization": f"Bearer {activity.issuer.issue()}"}
    size = 0
    await activity.list_plays(limit=1)
    gc.collect()
    tracemalloc.start()
    async with activity.client.get("/api/plan-plays", headers=headers) as response:
        async for chunk in response.content.iter_any():
            size += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size > 12_500_000
    assert peak < 6_000_000


async def test_a_stream_that_loses_its_database_is_cut_and_never_looks_whole(
    start_activity: StartActivity, proxy: DatabaseProxy
) -> None:
    activity = await start_activity(postgres_dsn=proxy.dsn)
    await insert_plays(activity, 20_000, lessons=10)
    headers = {"Authorization": f"Bearer {activity.issuer.issue()}"}
    received = b""
    async with activity.client.get("/api/plan-plays", headers=headers) as response:
        assert response.status == 200
        await proxy.stop()
        with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - the cut comes at some chunk
            async for chunk in response.content.iter_any():
                received += chunk
    assert b'"count"' not in received[-100:]
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(received)


async def test_a_list_whose_database_is_away_from_the_start_is_a_plain_500(
    start_activity: StartActivity, proxy: DatabaseProxy
) -> None:
    activity = await start_activity(postgres_dsn=proxy.dsn)
    await proxy.stop()

    for query in ({}, {"limit": 5}):
        reply = await activity.list_plays(**query)
        assert (reply.status, reply.json) == (500, {"error": "Internal server error"})


async def test_a_reader_that_stands_still_is_cut_off_and_its_connection_comes_back(
    start_activity: StartActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STALL_LIMIT_SECONDS", 0.1)
    activity = await start_activity(postgres_pool_size=2)
    await insert_plays(activity, 20_000, lessons=10)
    request = (
        f"GET /api/plan-plays HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {activity.issuer.issue()}\r\n\r\n"
    ).encode()
    standing = []
    for _ in range(4):
        reader, writer = await asyncio.open_connection(activity.client.host, activity.client.port, limit=1024)
        writer.write(request)
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        standing.append(writer)
        # Short requests have connections of their own.
        assert (await activity.list_plays(limit=1)).status == 200

    assert (await activity.list_plays()).json["count"] == 20_000
    for writer in standing:
        writer.transport.abort()


async def test_lists_read_an_index_in_its_order(activity: Activity) -> None:
    await insert_plays(activity, 5000)
    after = Position(FIRST_DAY + timedelta(seconds=2500), str(uuid.uuid4()))
    cases = [
        (PlanPlayFilter("client-a"), "plan_play_of_client"),
        (PlanPlayFilter("client-a", status="paused"), "plan_play_of_client"),
        (PlanPlayFilter("client-a", user_id="user-1"), "plan_play_of_user"),
        (PlanPlayFilter("client-a", user_id="user-1", plan_id="plan-1"), "plan_play_of_user"),
    ]
    async with activity.components.pool.acquire() as connection:
        store = PlanPlayStore(connection)
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for wanted, index in cases:
                statement, parameters = store._list_statement(wanted, after, 10)
                lines = await connection.fetch(f"EXPLAIN {statement}", *parameters)
                plan = "\n".join(line[0] for line in lines)
                assert f"using {index}" in plan
                assert "Sort" not in plan
