"""The database away, slow or busy: 500 in the envelope within a bound, nothing half done, well again by itself."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from service_chassis.application import READINESS
from tests.catalog_service.catalog import PLAN, PLAN_CALLS, UNEXPECTED, Catalog
from tests.catalog_service.conftest import StartCatalog
from tests.catalog_service.unreliable_database import UnreliableDatabase

BOUND_SECONDS = 3.5
"""Three seconds, and what a loaded machine adds."""


@pytest.fixture
async def way(catalog_dsn: str) -> AsyncIterator[UnreliableDatabase]:
    way = UnreliableDatabase(catalog_dsn)
    await way.open()
    yield way
    await way.close()


@pytest.fixture
async def catalog(start_catalog: StartCatalog, way: UnreliableDatabase) -> Catalog:
    return await start_catalog(postgres_dsn=way.dsn)


async def ask_everything(catalog: Catalog, secret: str, tokens: list[str]) -> float:
    """Make every call at once with every token, expect faults, and answer how long the slowest took."""
    began = time.monotonic()
    answers = await asyncio.gather(
        catalog.request_token("acme", secret),
        *(
            catalog.call(path, {**PLAN, "plan_id": "p"} if "sync" in path else {"plan_id": "p"}, token)
            for path in PLAN_CALLS
            for token in tokens
        ),
    )
    assert answers == [(500, UNEXPECTED)] * (1 + 3 * len(tokens))
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["cut", "freeze"])
async def test_a_database_that_is_away_is_a_bounded_500_and_over_when_it_is_back(
    catalog: Catalog, way: UnreliableDatabase, how: str
) -> None:
    secret = await catalog.register()
    known, unseen = [await catalog.token("acme", secret) for _ in range(2)]
    plan = await catalog.sync(known, **PLAN)
    catalog.clock.move(minutes=1)  # the signing keys are due to be read again, too
    getattr(way, how)()
    assert await ask_everything(catalog, secret, [known, unseen]) < BOUND_SECONDS
    assert await ask_everything(catalog, secret, [known, unseen]) < BOUND_SECONDS
    assert "postgres" in await catalog.app[READINESS].find_not_ready()
    assert await catalog.published_kids()
    way.heal()
    assert await catalog.plans(known) == [plan]
    assert await catalog.plans(await catalog.token("acme", secret)) == [plan]
    assert await catalog.app[READINESS].find_not_ready() == []


async def test_a_pool_that_is_used_up_is_a_bounded_500(start_catalog: StartCatalog) -> None:
    catalog = await start_catalog(postgres_pool_size=1)
    secret = await catalog.register()
    token = await catalog.token("acme", secret)
    plan = await catalog.sync(token, **PLAN)
    async with catalog.pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM client WHERE client_id = 'acme' FOR UPDATE")
        began = time.monotonic()
        answers = await asyncio.gather(
            *(catalog.call("/sync-plan", {"plan_id": plan["plan_id"], "color": f"{n}"}, token) for n in range(5))
        )
        assert answers == [(500, UNEXPECTED)] * 5
        assert time.monotonic() - began < BOUND_SECONDS
    assert await catalog.plans(token) == [plan]


async def test_a_service_that_was_not_migrated_is_not_ready(
    start_catalog: StartCatalog, empty_database: object
) -> None:
    catalog = await start_catalog(postgres_dsn=empty_database())  # type: ignore[operator]
    assert await catalog.app[READINESS].find_not_ready() == ["row_security", "migrations", "signing_keys"]
    assert await catalog.request_token("acme", "x") == (500, UNEXPECTED)
