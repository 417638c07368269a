"""A real metering service, and a database of somebody who bills by the library."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from metering_client import Billing, BillingTimes, create_tables, open_billing
from metering_service.app import create_app
from metering_service.settings import MeteringSettings
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, SERVICE_KEYS, Metering

NEVER_SECONDS = 3600.0
CREATE_COMPLETIONS = """
    CREATE TABLE IF NOT EXISTS completion (
        event_id text PRIMARY KEY,
        client_id text NOT NULL,
        user_id text,
        tokens bigint NOT NULL CHECK (tokens < 1000),
        created_at timestamptz NOT NULL DEFAULT now()
    )
"""
FACTS = "SELECT event_id, client_id, 'llm.tokens', user_id, tokens, created_at FROM completion"
TOKENS = "llm.tokens"
PRICES = {TOKENS: 2, "*": 0}

StartBilling = Callable[..., Awaitable[Billing]]
"""Opens billing over the test's database; takes BillingTimes by name."""


@pytest.fixture
async def metering(metering_dsn: str, redis_url: str) -> AsyncIterator[Metering]:
    """A metering service whose time is the real one; `acme` has 10,000 credits, and a token costs two."""
    keys = tuple(f"{scope}:{name}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, name, key in SERVICE_KEYS)
    settings = MeteringSettings(
        postgres_dsn=metering_dsn, redis_url=redis_url, redis_timeout_seconds=2.0, service_keys=keys
    )
    async with TestClient(TestServer(create_app(settings))) as client:
        metering = Metering([client], metering_dsn)
        await metering.give("acme", grant=10_000, prices=PRICES)
        yield metering


@pytest.fixture
def metering_url(metering: Metering) -> str:
    return str(metering.clients[0].make_url("/"))


@pytest.fixture
async def pool(empty_database: Callable[..., str]) -> AsyncIterator[asyncpg.Pool]:
    """The database of a service that sells completions."""
    async with asyncpg.create_pool(empty_database(), min_size=0, max_size=4, command_timeout=5) as pool:
        async with pool.acquire() as connection:
            await connection.execute(CREATE_COMPLETIONS)
            await create_tables(connection, facts=FACTS)
        yield pool


@pytest.fixture
async def start_billing(pool: asyncpg.Pool, metering_url: str) -> AsyncIterator[StartBilling]:
    """Billing whose background work does nothing by itself after its first round, except when kicked."""
    async with AsyncExitStack() as stack:

        async def start(key: str = EVENTS_KEY, url: str = metering_url, **times: Any) -> Billing:
            times = {"deadline": 20.0, "sweep": NEVER_SECONDS, "poll": NEVER_SECONDS, **times}
            opened = open_billing(pool, url=url, key=key, event_types={TOKENS}, times=BillingTimes(**times))
            return await stack.enter_async_context(opened)

        yield start


@pytest.fixture
async def billing(start_billing: StartBilling) -> Billing:
    return await start_billing()


__all__ = ["ADMIN_KEY", "EVENTS_KEY"]
