"""PostgreSQL's standby is promoted while events are charged: what was acknowledged, and what is left of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metering_service.app import create_app
from metering_service.settings import MeteringSettings
from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema
from tests.metering_service.conftest import SERVICE_KEYS, Metering, event
from tests.metering_service.postgres_pair import PostgresPair
from tests.operator_command import run_command

pytestmark = pytest.mark.system

BACK_WITHIN_SECONDS = 15.0
"""Nobody waits that long for one request; readiness takes a process out meanwhile."""
AT_A_TIME = 8

StartPair = Callable[..., PostgresPair]


@pytest.fixture
def start_pair(tmp_path: Path) -> Iterator[StartPair]:
    started: list[PostgresPair] = []

    def start(**options: Any) -> PostgresPair:
        started.append(PostgresPair(tmp_path, **options))
        return started[-1]

    yield start
    for pair in started:
        pair.stop()


@pytest.fixture
async def serve(redis_url: str) -> AsyncIterator[Callable[[str], Any]]:
    clients: list[TestClient[web.Request, web.Application]] = []

    async def start(dsn: str) -> Metering:
        keys = tuple(
            f"{scope}:{name}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, name, key in SERVICE_KEYS
        )
        settings = MeteringSettings(postgres_dsn=dsn, redis_url=redis_url, service_keys=keys)
        clients.append(TestClient(TestServer(create_app(settings))))
        await clients[-1].start_server()
        return Metering(clients, dsn)

    yield start
    for client in clients:
        await client.close()


class Charging:
    """Asks for events and charges them, several at a time; knows what was acknowledged."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self.charged: set[str] = set()
        self._more = asyncio.Condition()
        self._loops = [asyncio.create_task(self._charge()) for _ in range(AT_A_TIME)]

    async def _charge(self) -> None:
        while True:
            asked = event()
            status, answer = await self._metering.call("POST", "/internal/events/authorize", {"events": [asked]})
            if status != 200 or answer["decisions"][0]["decision"] != "granted":
                continue
            fact = {"events": [{"happenedAt": "2026-03-31T21:59:00Z", **asked}]}
            status, answer = await self._metering.call("POST", "/internal/events/settle", fact)
            if status == 200 and answer["results"][0]["state"] == "settled":
                self.charged.add(asked["eventId"])
                async with self._more:
                    self._more.notify_all()

    async def wait(self, more: int, seconds: float = 30.0) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.charged) + more
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: len(self.charged) >= wanted)

    async def stop(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)


async def prepare(pair: PostgresPair, serve: Callable[[str], Any]) -> Metering:
    with psycopg.connect(pair.primary.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE metering")
    apply_schema(pair.primary.dsn("metering"), schema_of("metering_service"))
    metering: Metering = await serve(pair.dsn("metering"))
    await metering.give("acme", grant=1_000_000)
    return metering


async def ledger(pair: PostgresPair) -> list[str]:
    connection = await asyncpg.connect(pair.standby.dsn("metering"))
    try:
        rows = await connection.fetch("SELECT event_id FROM ledger_entry WHERE kind = 'spend'")
    finally:
        await connection.close()
    return [row["event_id"] for row in rows]


async def test_nothing_acknowledged_is_lost_when_a_synchronous_standby_is_promoted_under_load(
    start_pair: StartPair, serve: Callable[[str], Any]
) -> None:
    pair = await asyncio.to_thread(start_pair, synchronous=True)
    charging = Charging(await prepare(pair, serve))
    await charging.wait(100)
    await asyncio.to_thread(pair.kill_the_primary)
    await asyncio.to_thread(pair.promote_the_standby)
    await charging.wait(100, BACK_WITHIN_SECONDS)
    await charging.stop()
    kept = await ledger(pair)
    assert len(kept) == len(set(kept))
    assert charging.charged <= set(kept)
    assert (await run_command("metering", pair.dsn("metering"), "audit")).code == 0


async def test_an_asynchronous_standby_lacks_the_last_charges_and_its_own_books_are_sound(
    start_pair: StartPair, serve: Callable[[str], Any]
) -> None:
    """Which ones are lacking is what the activity service's audit says, and `billing recharge` mends."""
    pair = await asyncio.to_thread(start_pair, synchronous=False)
    charging = Charging(await prepare(pair, serve))
    await charging.wait(50)
    await asyncio.to_thread(pair.cut_the_standby_off)
    await charging.wait(50)
    await asyncio.to_thread(pair.kill_the_primary)
    await asyncio.to_thread(pair.promote_the_standby)
    await charging.wait(50, BACK_WITHIN_SECONDS)
    await charging.stop()
    kept = await ledger(pair)
    assert len(kept) == len(set(kept))
    assert len(charging.charged - set(kept)) >= 40
    assert (await run_command("metering", pair.dsn("metering"), "audit")).code == 0
