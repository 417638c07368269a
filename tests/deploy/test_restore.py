"""Backups of metering and activity from different moments are restored and mended as the operations page says."""

import asyncio
import itertools
import re
import subprocess
from pathlib import Path

import pytest

from local_stack.postgres_server import find_binaries
from tests.activity_service.activity import Issuer
from tests.conftest import FreshDatabase
from tests.deploy.shop import CHARGES, FACTS, HOLDS, LATE, Operator, count, run_shop, settle, wait_for

pytestmark = pytest.mark.system

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "operations" / "backup.md").read_text()


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


@pytest.mark.parametrize("resolve_after_seconds", [1, 3600], ids=["swept first", "recharged first"])
async def test_a_metering_from_when_credits_were_held_charges_what_happened_once_and_gives_the_rest_back(
    dsns: dict[str, str], redis_url: str, issuer: Issuer, tmp_path: Path, resolve_after_seconds: int
) -> None:
    async with run_shop(dsns, redis_url, issuer) as shop:
        await shop.give_credits(100)
        shop.settling.clear()
        await shop.sell("held", 4)
        await shop.hold_for_nothing()
        backups = {"metering": await back_up(dsns["metering"])}
        shop.settling.set()
        await shop.sell("late", 4)
        await settle(dsns)
        backups["activity"] = await back_up(dsns["activity"])
    for service, backup in backups.items():
        await restore(dsns[service], backup)
    assert (count(dsns["metering"], HOLDS), count(dsns["metering"], CHARGES)) == (6 + 1, 0)

    async with run_shop(dsns, redis_url, issuer, resolve_after_seconds=resolve_after_seconds) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        if resolve_after_seconds == 1:
            await wait_for(dsns["metering"], HOLDS, 0)
            assert count(dsns["metering"], CHARGES) == 6
            assert '"announced": 6' in await operator.recharge()
        else:
            assert '"announced": 12' in await operator.recharge()
        await settle(dsns)
    async with run_shop(dsns, redis_url, issuer, resolve_after_seconds=1) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        await wait_for(dsns["metering"], HOLDS, 0)
        sound = await operator.audit()
        assert sound.code == 0, sound.output
        assert '"uncharged": 0' in await operator.recharge()
    assert count(dsns["metering"], CHARGES) == count(dsns["activity"], FACTS) == 6 + 6
    assert count(dsns["metering"], LATE) == 6, "what was held is charged as it was held"


async def test_an_activity_from_when_credits_were_held_charges_nothing_twice_and_gives_back_what_it_forgot(
    dsns: dict[str, str], redis_url: str, issuer: Issuer, tmp_path: Path
) -> None:
    async with run_shop(dsns, redis_url, issuer) as shop:
        await shop.give_credits(100)
        shop.settling.clear()
        await shop.sell("held", 4)
        backups = {"activity": await back_up(dsns["activity"])}
        shop.settling.set()
        await settle(dsns)
        shop.settling.clear()
        await shop.sell("forgotten", 4)
        backups["metering"] = await back_up(dsns["metering"])
    for service, backup in backups.items():
        await restore(dsns[service], backup)
    assert (count(dsns["metering"], HOLDS), count(dsns["metering"], CHARGES)) == (6, 6)

    async with run_shop(dsns, redis_url, issuer, resolve_after_seconds=1) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        await settle(dsns)
        await wait_for(dsns["metering"], HOLDS, 0)
        for _ in range(2):
            sound = await operator.audit()
            assert sound.code == 0, sound.output
            # Its caller repeats its keys.
            await shop.sell("forgotten", 4)
            await settle(dsns)
    assert count(dsns["metering"], CHARGES) == count(dsns["activity"], FACTS) == 6 + 6


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
