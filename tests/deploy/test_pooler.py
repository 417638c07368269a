"""The whole product behind PgBouncer in transaction mode, with the logins of deploy/pooler.sql."""

import asyncio
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from local_stack.processes import REPOSITORY
from prove.breakable_stack import BreakableStack
from tests.operator_command import run_command
from tests.pgbouncer import FOLLOWING_VERSION, PgBouncer, require_pgbouncer
from tests.stack.customer import PAID, Customer, make_customer

pytestmark = pytest.mark.system

LOGINS = ("catalog_requests", "activity_requests", "activity_shared", "metering_others", "metering_charging")
CREDITS = 150
SELLERS = 4
RESTARTS = 2


class PooledStack(BreakableStack):
    """Every process reaches PostgreSQL through a pooler that has half as many sessions as they have connections."""

    pooler: PgBouncer

    async def wire(self) -> Mapping[str, str]:
        """Make the logins, start the pooler and return what leads through it."""
        return await self.in_thread(self._wire)

    def _wire(self) -> Mapping[str, str]:
        logins = {name: uuid.uuid4().hex for name in LOGINS} | {"postgres": self.secrets["postgres_password"]}
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            for _ in range(2):  # it is run again with each version
                connection.execute((REPOSITORY / "deploy" / "pooler.sql").read_text())
            for name in LOGINS:
                connection.execute(f"ALTER ROLE {name} PASSWORD '{logins[name]}'")
        # Its account must be able to read what is there.
        directory = Path(tempfile.mkdtemp(prefix="pooler-"))
        directory.chmod(0o777)
        self.pooler = PgBouncer(directory, self.postgres.port, logins, default_pool_size="4")
        urls = {
            "CATALOG_POSTGRES_DSN": self.pooler.url("catalog_requests", "catalog"),
            "ACTIVITY_POSTGRES_DSN": self.pooler.url("activity_requests", "activity"),
            "ACTIVITY_POSTGRES_SHARED_DSN": self.pooler.url("activity_shared", "activity"),
            "METERING_POSTGRES_DSN": self.pooler.url("metering_others", "metering"),
            "METERING_POSTGRES_CHARGING_DSN": self.pooler.url("metering_charging", "metering"),
        }
        return {**urls, **{f"{name.upper()}_POSTGRES_POOLER": "true" for name in self.dsns}}

    async def stop(self) -> None:
        """Stop everything."""
        await super().stop()
        self.pooler.stop()
        shutil.rmtree(self.pooler.directory)

    def describe(self) -> dict[str, Any]:
        """Return what customers must know."""
        return {
            "postgres": {"dsn": self.dsns},
            "catalog": {"url": self.url("catalog")},
            "metering": {"url": self.url("metering")},
            "service_keys": {"admin": self.secrets["admin_key"]},
        }


@pytest.fixture
async def stack() -> AsyncIterator[PooledStack]:
    require_pgbouncer(FOLLOWING_VERSION)
    directory = Path(tempfile.mkdtemp(prefix="pooled-stack-"))
    made = PooledStack(directory)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def customers(stack: PooledStack) -> AsyncIterator[list[Customer]]:
    urls = [stack.url("activity-1"), stack.url("activity-2")]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield [await make_customer(stack.describe(), session, urls, grant=CREDITS, **PAID) for _ in range(2)]


async def sell(customer: Customer, plays: set[str], number: int) -> None:
    """Create, read, end and list until all credits are spent; whatever is seen is this customer's own."""
    while True:
        key = str(uuid.uuid4())
        while True:
            body = {"planId": "p", "userId": f"user-{number}"}
            try:
                status, raw, _ = await customer.play("POST", body=body, through=number, idempotency_key=key)
            except aiohttp.ClientError:
                continue
            answer = json.loads(raw)
            if status == 429 and answer["retryAfterSeconds"] is None:
                return
            if status == 201:
                break
            assert status in (429, 500, 503), (status, raw)
            await asyncio.sleep(0.05)
        play = answer["data"]["id"]
        plays.add(play)
        for method, path, change in (("GET", f"/{play}", None), ("PATCH", f"/{play}", {"status": "ended"})):
            status, raw, _ = await customer.play(method, path, change, through=number)
            assert status in (200, 429, 500, 503), (status, raw)
        status, raw, _ = await customer.play("GET", "?limit=20")
        if status == 200:
            assert {each["clientId"] for each in json.loads(raw)["data"]} == {customer.client_id}


async def test_it_sells_exactly_what_there_is_while_the_pooler_is_killed(
    stack: PooledStack, customers: list[Customer], tmp_path: Path
) -> None:
    plays: list[set[str]] = [set(), set()]
    selling = [
        asyncio.create_task(sell(customer, plays[n], number))
        for n, customer in enumerate(customers)
        for number in range(SELLERS)
    ]
    for restart in range(1, RESTARTS + 1):
        while sum(map(len, plays)) < 25 * restart:
            assert not all(task.done() for task in selling)
            await asyncio.sleep(0.01)
        await stack.in_thread(stack.pooler.kill)
        await stack.in_thread(stack.pooler.start)
    async with asyncio.timeout(120):
        await asyncio.gather(*selling)
    await stack.await_ready()
    for customer, own in zip(customers, plays, strict=True):
        charges = await customer.charges()
        assert len(charges) == len(set(charges)) == CREDITS
        assert {f"plan_play.created:{play}" for play in own} <= set(charges)
    status, _, _ = await customers[0].play("GET", f"/{next(iter(plays[1]))}")
    assert status == 403
    # Commands go to the database itself.
    erased = await run_command(
        *("activity", stack.dsns["activity"], "users", "erase", "--yes"),
        *("--client", customers[0].client_id, "--user", "user-1"),
    )
    assert erased.code == 0, erased.trace
    key_file = tmp_path / "key"
    key_file.write_text(stack.secrets["admin_key"])
    joined = ("--metering-url", stack.url("metering"), "--metering-key-file", str(key_file))
    for audit in (
        run_command("metering", stack.dsns["metering"], "audit"),
        run_command("activity", stack.dsns["activity"], "audit", *joined),
    ):
        done = await audit
        assert done.code == 0, done.output + done.trace


async def until_read(customer: Customer, path: str, is_readable: bool) -> None:
    """Return once a play can be read, or no more."""
    async with asyncio.timeout(20):
        while True:
            status, _, _ = await customer.play("GET", path)
            if (status == 200) is is_readable:
                return
            await asyncio.sleep(0.05)


async def test_sessions_that_come_later_without_row_security_show_nothing(
    stack: PooledStack, customers: list[Customer]
) -> None:
    """The pooler opens other sessions under connections whose role was verified; the services do not notice."""
    customer = customers[0]
    status, raw, _ = await customer.play("POST", body={"planId": "p"})
    assert status == 201
    path = f"/{json.loads(raw)['data']['id']}"
    await until_read(customer, path, is_readable=True)

    def replace_sessions(*statements: str) -> None:
        with psycopg.connect(stack.postgres.dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'activity_requests'"
            )

    await asyncio.to_thread(
        replace_sessions,
        "ALTER ROLE activity_requests BYPASSRLS",
        "ALTER ROLE activity_requests IN DATABASE activity RESET role",
    )
    await until_read(customer, path, is_readable=False)
    for each in ("", path):
        status, raw, _ = await customer.play("GET", each)
        assert status in (500, 503), raw
    ready = stack.environments["activity-1"].operations_url + "/readyz"
    async with customer.session.get(ready) as response:
        assert "row_security" in (await response.json())["notReady"]
    await asyncio.to_thread(replace_sessions, (REPOSITORY / "deploy" / "pooler.sql").read_text())
    await until_read(customer, path, is_readable=True)
