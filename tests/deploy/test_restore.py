"""Backups of metering and activity from different moments are restored and mended as the operations page says."""

import asyncio
import hashlib
import itertools
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from local_stack.postgres_data import find_binaries
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from tests.activity_service.activity import Issuer
from tests.conftest import FreshDatabase
from tests.operator_command import Done, run_command

pytestmark = pytest.mark.system

KEYS = {"events": "events-key-of-the-test", "admin": "admin-key-of-the-test"}
CLIENT = "client-a"
FACTS = "SELECT count(*) + count(first_ended_at) FROM plan_play"
CHARGES = "SELECT count(*) FROM ledger_entry WHERE kind = 'spend'"
DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "operations" / "backup.md").read_text()


class Shop:
    """Metering and activity, running on two databases, and their one client."""

    def __init__(self, metering: TestClient[Any, Any], activity: TestClient[Any, Any], token: str) -> None:
        self.metering = metering
        self.metering_url = str(metering.make_url("/")).rstrip("/")
        self._activity = activity
        self._token = token

    async def sell(self, name: str, count: int) -> None:
        """Create plays with keys of their own, `name` and a number, and end every second one."""
        for number in range(count):
            headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": f"{name}-{number}"}
            async with self._activity.post("/api/plan-plays", json={"planId": "p"}, headers=headers) as response:
                assert response.status == 201, await response.text()
                play_id = (await response.json())["data"]["id"]
            if number % 2:
                change = {"status": "ended"}
                async with self._activity.patch(
                    f"/api/plan-plays/{play_id}", json=change, headers=headers
                ) as response:
                    assert response.status == 200, await response.text()

    async def give_credits(self, credits: int) -> None:
        for method, path, body in (
            ("PUT", "/internal/policies/sold", {"prices": {"*": 1}, "credits": "prepaid"}),
            ("PUT", f"/internal/clients/{CLIENT}/policy", {"policyId": "sold", "create": True}),
            ("POST", f"/internal/clients/{CLIENT}/grants", {"grantId": "g", "credits": credits}),
        ):
            headers = {"Authorization": f"Bearer {KEYS['admin']}"}
            async with self.metering.request(method, path, json=body, headers=headers) as response:
                assert response.status == 200, await response.text()


@asynccontextmanager
async def run_shop(dsns: Mapping[str, str], redis_url: str, issuer: Issuer) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as running:

        async def start(app: web.Application) -> TestClient[Any, Any]:
            client: TestClient[Any, Any] = await running.enter_async_context(TestClient(TestServer(app)))
            return client

        hashes = tuple(f"{scope}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, key in KEYS.items())
        metering = await start(
            create_metering(MeteringSettings(postgres_dsn=dsns["metering"], redis_url=redis_url, service_keys=hashes))
        )
        keys = await start(issuer.create_app())
        activity = await start(
            create_activity(
                ActivitySettings(
                    postgres_dsn=dsns["activity"],
                    jwks_url=str(keys.make_url("/.well-known/jwks.json")),
                    metering_url=str(metering.make_url("/")).rstrip("/"),
                    metering_key=KEYS["events"],
                    relay_poll_seconds=0.1,
                )
            )
        )
        yield Shop(metering, activity, issuer.issue(CLIENT))


def run_documented(program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run pg_dump or pg_restore with the options that the document has for it, and with a database here."""
    [options] = re.findall(rf"postgres {program} --username=postgres ((?:[^<>]|\n)*?)(?: \$database)? [<>]", DOCUMENT)
    words = [word for word in options.replace("\\\n", " ").split() if not word.startswith("--dbname")]
    command = [str(find_binaries() / program), *words, *arguments]
    return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


async def back_up(dsn: str) -> bytes:
    return await asyncio.to_thread(run_documented, "pg_dump", dsn)


async def restore(dsn: str, backup: bytes) -> None:
    await asyncio.to_thread(run_documented, "pg_restore", f"--dbname={dsn}", stdin=backup)


def count(dsn: str, statement: str) -> int:
    with psycopg.connect(dsn) as connection:
        [(number,)] = connection.execute(statement).fetchall()
        return int(number)


async def settle(dsns: Mapping[str, str]) -> None:
    """Return when nothing waits to be charged."""
    async with asyncio.timeout(60):
        while count(dsns["activity"], "SELECT count(*) FROM billable_event WHERE outcome = 'happened'"):  # noqa: ASYNC110 - by processes
            await asyncio.sleep(0.05)


class Operator:
    """Who runs the commands of the document."""

    def __init__(self, dsns: Mapping[str, str], metering_url: str, directory: Path) -> None:
        self._dsns = dsns
        key = directory / "metering_key"
        key.write_text(KEYS["admin"])
        self._access = ("--metering-url", metering_url, "--metering-key-file", str(key))

    async def audit(self) -> Done:
        """Hold every play against its charge; metering's own books must be sound whatever was restored."""
        books = await run_command("metering", self._dsns["metering"], "audit")
        assert books.code == 0, books.output
        return await run_command(
            "activity", self._dsns["activity"], "audit", *self._access, "--in-flight-seconds", "0"
        )

    async def recharge(self, *options: str) -> str:
        done = await run_command(
            *("activity", self._dsns["activity"], "billing", "recharge", *self._access),
            *("--in-flight-seconds", "0", "--json", *options),
        )
        assert done.code == 0, done.trace
        return done.output


@pytest.fixture
def dsns(fresh_database: FreshDatabase) -> dict[str, str]:
    return {service: fresh_database(f"{service}_service") for service in ("metering", "activity")}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.parametrize("is_metering_older", [True, False])
async def test_what_lies_between_two_backups_is_found_and_mended_and_nothing_is_charged_twice(
    dsns: dict[str, str], redis_url: str, issuer: Issuer, tmp_path: Path, is_metering_older: bool
) -> None:
    older, younger = ("metering", "activity") if is_metering_older else ("activity", "metering")
    async with run_shop(dsns, redis_url, issuer) as shop:
        await shop.give_credits(100)
        await shop.sell("early", 4)
        await settle(dsns)
        backups = {older: await back_up(dsns[older])}
        await shop.sell("late", 6)
        await settle(dsns)
        backups[younger] = await back_up(dsns[younger])
        await shop.sell("lost", 2)
    for service, backup in backups.items():
        await restore(dsns[service], backup)

    async with run_shop(dsns, redis_url, issuer) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        found = await operator.audit()
        assert found.code == 1
        if is_metering_older:
            assert found.output.count("fact_uncharged") >= 9
            assert '"uncharged": 9' in await operator.recharge("--dry-run")
            assert '"announced": 9' in await operator.recharge()
            await settle(dsns)
        else:
            assert found.output.count("charge_without_fact") >= 9
            assert '"uncharged": 0' in await operator.recharge()
            # Its caller has no answer for certain, and repeats its keys: stored anew, and not charged again.
            await shop.sell("late", 6)
            await settle(dsns)
        sound = await operator.audit()
        assert sound.code == 0, sound.output
        assert '"uncharged": 0' in await operator.recharge()
        assert count(dsns["metering"], CHARGES) == count(dsns["activity"], FACTS) == 6 + 9


async def test_backups_taken_one_after_the_other_under_load_are_restored_to_sound_books(
    dsns: dict[str, str], redis_url: str, issuer: Issuer, tmp_path: Path
) -> None:
    async with run_shop(dsns, redis_url, issuer) as shop:
        await shop.give_credits(100_000)

        async def sell_on() -> None:
            for number in itertools.count():
                await shop.sell(f"round-{number}", 2)

        load = [asyncio.create_task(sell_on())]
        backups = {}
        for service in ("activity", "metering"):
            await shop.sell(f"before-{service}", 5)
            backups[service] = await back_up(dsns[service])
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    for service, backup in backups.items():
        await restore(dsns[service], backup)

    async with run_shop(dsns, redis_url, issuer) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        await settle(dsns)
        await operator.recharge()
        await settle(dsns)
        found = await operator.audit()
        # Activity is the older one: what it forgot is charged, and listed until it is refunded; all else is sound.
        rules = set(re.findall(r"\b(fact_uncharged|charge_without_fact|charge_of_another_client)\b", found.output))
        assert rules <= {"charge_without_fact"}
        assert count(dsns["metering"], CHARGES) >= count(dsns["activity"], FACTS)
