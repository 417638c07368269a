"""Encoded answers of get-plans: exact at every moment, made once, bounded."""

import asyncio
import gzip
from typing import Any

import asyncpg
import orjson
import pytest

from catalog_service.api.responses import _names_gzip
from catalog_service.clients.store import ClientStore
from catalog_service.components import COMPONENTS
from catalog_service.plans.import_file import ImportPlans
from catalog_service.plans.store import PlanStore, UnreadPlans
from tests.catalog_service.catalog import PLAN, Catalog
from tests.catalog_service.conftest import StartCatalog


class Readings:
    """Counts the readings of plan lists, and can hold one after its snapshot was taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.hold: asyncio.Event | None = None
        self.taken = asyncio.Event()
        real = PlanStore.list_plans

        async def list_plans(store: PlanStore, client_id: str, collection_id: str | None) -> tuple[int, UnreadPlans]:
            self.count += 1
            hold, self.hold = self.hold, None
            answer = await real(store, client_id, collection_id)
            self.taken.set()
            if hold is not None:
                await hold.wait()
            return answer

        monkeypatch.setattr(PlanStore, "list_plans", list_plans)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    return Readings(monkeypatch)


async def test_an_unchanged_list_is_read_and_encoded_once(catalog: Catalog, readings: Readings) -> None:
    token = await catalog.token()
    plan = await catalog.sync(token, **PLAN)
    assert [await catalog.plans(token) for _ in range(5)] == [[plan]] * 5
    assert readings.count == 1


async def test_a_change_by_another_process_is_seen_by_the_next_request(start_catalog: StartCatalog) -> None:
    one, other = await start_catalog(), await start_catalog()
    token = await one.token()
    assert await other.plans(token) == []
    plan = await one.sync(token, **PLAN)
    assert await other.plans(token) == [plan]
    changed = await other.sync(token, plan_id=plan["plan_id"], color="red")
    assert await one.plans(token) == [changed]
    assert await one.plans(token, "col-1") == [changed]
    await ImportPlans(other.serving_pool).write("acme", [{**PLAN, "plan_name": "Zeta"}], actor="tests")
    assert len(await one.plans(token)) == 2
    await other.sync(token, plan_id=plan["plan_id"], is_delete=True)
    assert [plan["plan_name"] for plan in await one.plans(token)] == ["Zeta"]


async def test_all_who_ask_for_one_list_at_once_share_one_reading(catalog: Catalog, readings: Readings) -> None:
    token = await catalog.token()
    readings.hold = release = asyncio.Event()
    asked = [asyncio.create_task(catalog.plans(token)) for _ in range(20)]
    await readings.taken.wait()
    late = [asyncio.create_task(catalog.plans(token)) for _ in range(20)]
    release.set()
    assert await asyncio.gather(*asked, *late) == [[]] * 40
    assert readings.count == 1


async def test_whoever_asks_after_a_change_does_not_get_a_list_read_before_it(
    catalog: Catalog, readings: Readings
) -> None:
    token = await catalog.token()
    readings.hold = release = asyncio.Event()
    early = asyncio.create_task(catalog.plans(token))
    await readings.taken.wait()
    plan = await catalog.sync(token, **PLAN)
    assert await catalog.plans(token) == [plan]
    release.set()
    assert await early == []
    # The list that was read first came last, and is not taken for the present one.
    assert await catalog.plans(token) == [plan]


async def test_no_list_lacks_a_plan_acknowledged_before_it_was_asked_for(
    start_catalog: StartCatalog,
) -> None:
    writer, reader = await start_catalog(), await start_catalog()
    token = await writer.token()
    acknowledged: set[str] = set()

    async def write(number: int) -> None:
        for round_ in range(10):
            acknowledged.add((await writer.sync(token, **{**PLAN, "plan_name": f"{number}-{round_}"}))["plan_id"])

    async def read() -> None:
        while any(not task.done() for task in writing):
            before = set(acknowledged)
            assert before <= {plan["plan_id"] for plan in await reader.plans(token)}

    writing = [asyncio.create_task(write(number)) for number in range(4)]
    await asyncio.gather(*writing, read(), read())
    assert len(await reader.plans(token)) == 40


async def test_a_refused_change_leaves_the_encoded_list_good(catalog: Catalog, readings: Readings) -> None:
    token = await catalog.token()
    assert await catalog.plans(token) == []
    await catalog.call("/sync-plan", {"plan_id": "unknown", "color": "red"}, token)
    await catalog.call("/sync-plan", {"plan_id": "unknown", "is_delete": True}, token)
    assert await catalog.plans(token) == []
    assert readings.count == 1


async def fill(pool: asyncpg.Pool, client_id: str, count: int) -> None:
    await ImportPlans(pool).write(
        client_id, [{**PLAN, "plan_name": f"plan {number}"} for number in range(count)], actor="tests"
    )


async def raw(catalog: Catalog, token: str, accept: str) -> tuple[str | None, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": accept}
    async with catalog.http.post("/get-plans", headers=headers, auto_decompress=False) as response:
        assert response.headers["Vary"] == "Accept-Encoding"
        return response.headers.get("Content-Encoding"), await response.read()


async def test_a_gzipped_list_is_the_same_list(catalog: Catalog) -> None:
    token = await catalog.token()
    await fill(catalog.serving_pool, "acme", 50)
    (encoding, packed), (none, plain) = await raw(catalog, token, "br, gzip"), await raw(catalog, token, "identity")
    assert (encoding, none) == ("gzip", None)
    assert gzip.decompress(packed) == plain
    assert len(orjson.loads(plain)["data"]) == 50


async def test_a_list_smaller_than_a_packet_is_not_compressed(catalog: Catalog) -> None:
    assert (await raw(catalog, await catalog.token(), "gzip"))[0] is None


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("*", True),
        ("gzip;q=0, *", False),
        ("gzip; q=0.00", False),
        ("deflate, br", False),
        ("", False),
        ("gzip;q=1.0", True),
        ("gzip;q=0.001", True),
    ],
)
def test_gzip_is_sent_to_those_who_accept_it(header: str, accepted: bool) -> None:
    assert _names_gzip(header) is accepted


async def test_kept_responses_stay_within_their_memory(start_catalog: StartCatalog, readings: Readings) -> None:
    catalog = await start_catalog(encoded_plans_limit_bytes=20_000)
    cache = catalog.app[COMPONENTS].encoded_plans
    token = await catalog.token()
    await fill(catalog.serving_pool, "acme", 20)
    for number in range(60):
        await catalog.plans(token, f"collection {number}")
        await catalog.plans(token)  # in use all the time, and so never the one to go
    assert 10_000 < cache.kept_bytes <= 20_000
    count = readings.count
    await catalog.plans(token)
    assert readings.count == count
    await catalog.plans(token, "collection 0")
    assert readings.count == count + 1


async def test_a_list_larger_than_the_memory_is_answered_all_the_same(start_catalog: StartCatalog) -> None:
    catalog = await start_catalog(encoded_plans_limit_bytes=0)
    token = await catalog.token()
    await fill(catalog.serving_pool, "acme", 20)
    assert len(await catalog.plans(token)) == 20
    assert catalog.app[COMPONENTS].encoded_plans.kept_bytes == 0


async def test_the_hot_statements_use_their_indexes(catalog: Catalog) -> None:
    await catalog.register()
    await fill(catalog.serving_pool, "acme", 3000)
    await catalog.pool.execute(
        "INSERT INTO client SELECT 'c' || n, 'c', false, NULL, 0, now() FROM generate_series(1, 3000) n"
    )
    await catalog.pool.execute("UPDATE plan SET client_id = 'c' || (1 + abs(hashtext(plan_id)) % 30)")
    await catalog.pool.execute("ANALYZE")
    hot: list[tuple[str, list[Any], str]] = [
        (ClientStore._LIST_STATES, [["c1"]], "client_pkey"),
        (PlanStore._LIST_PLANS, ["c1"], "plan_"),
        (PlanStore._LIST_COLLECTION, ["c1", "col-1"], "plan_"),
        (PlanStore._FETCH_PLAN, ["c1", "p"], "plan_pkey"),
    ]
    for statement, arguments, index in hot:
        plan = "\n".join(row[0] for row in await catalog.pool.fetch(f"EXPLAIN {statement}", *arguments))
        assert index in plan
        assert "Seq Scan" not in plan
