"""Nothing is sold twice or lost by three activity and three metering processes that are killed while they sell."""

import asyncio
import json
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.operator_command import run_command
from tests.stack.customer import PAID, Customer, make_customer
from tests.stack.two_of_each import ServiceProcess, second_activity, second_metering

pytestmark = pytest.mark.system

CREDITS = 900
SELLERS = 24
PLAYS_A_KILL = 60
SOON_RESOLVED = {"RESOLVE_AFTER_SECONDS": "5", "SWEEP_INTERVAL_SECONDS": "0.5"}


class Sale:
    """Creates plays until nothing is left, through processes one of which is killed every PLAYS_A_KILL plays."""

    def __init__(self, customer: Customer, services: list[ServiceProcess]) -> None:
        self.acknowledged: set[str] = set()
        self.kills = 0
        self._customer = customer
        self._services = services

    async def sell(self) -> None:
        """Create, and again with the same key where no answer came, until all is spent."""
        while (play := await self._create(str(uuid.uuid4()))) is not None:
            assert play not in self.acknowledged
            self.acknowledged.add(play)
            if len(self.acknowledged) % PLAYS_A_KILL == 0:
                self._kill()

    async def _create(self, key: str) -> str | None:
        while True:
            try:
                status, body, _ = await self._customer.play("POST", body={"planId": "p"}, idempotency_key=key)
            except aiohttp.ClientError:
                continue
            document = json.loads(body)
            if status == 201:
                return str(document["data"]["id"])
            if status == 429 and document["retryAfterSeconds"] is None:
                return None
            assert status in (429, 500, 503), (status, body)
            # What killed processes hold is given back in seconds.
            await asyncio.sleep(0.05)

    def _kill(self) -> None:
        children = self._services[self.kills % len(self._services)].children
        if children:
            os.kill(random.choice(children), signal.SIGKILL)
            self.kills += 1


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as made:
        yield made


async def test_workers_that_are_killed_and_replaced_sell_exactly_what_there_is(
    stack: dict[str, Any], session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with (
        second_metering(stack, tmp_path, WORKERS="3") as metering,
        second_activity(stack, tmp_path, metering.url, WORKERS="3", **SOON_RESOLVED) as activity,
    ):
        assert (len(metering.children), len(activity.children)) == (4, 4)
        made = await make_customer(stack, session, [activity.url], grant=CREDITS, **PAID)
        sale = Sale(made, [metering, activity])
        async with asyncio.timeout(120):
            await asyncio.gather(*(sale.sell() for _ in range(SELLERS)))
        assert sale.kills >= CREDITS // PLAYS_A_KILL - 2
        charges = await made.charges()
        assert len(charges) == len(set(charges)) == CREDITS
        assert {f"plan_play.created:{play}" for play in sale.acknowledged} <= set(charges)
        assert await made.count_plays() == CREDITS
        activity.wait_until_ready()
        metering.wait_until_ready()
    dsn = stack["postgres"]["dsn"]
    assert (await run_command("metering", dsn["metering"], "audit")).code == 0
    key_file = tmp_path / "key"
    key_file.write_text(stack["service_keys"]["admin"])
    joined = ("--metering-url", stack["metering"]["url"], "--metering-key-file", str(key_file))
    assert (await run_command("activity", dsn["activity"], "audit", *joined)).code == 0
