"""An asynchronous standby that lacked the last commits is promoted: audits name what is lost, and it is mended."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema
from tests.activity_service.activity import Issuer
from tests.conftest import FreshDatabase
from tests.deploy.shop import CHARGES, FACTS, HOLDS, Operator, count, run_shop, settle, wait_for
from tests.metering_service.postgres_pair import PostgresPair

pytestmark = pytest.mark.system


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[PostgresPair]:
    made = PostgresPair(tmp_path, synchronous=False)
    yield made
    made.stop()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.parametrize("of_the_pair", ["metering", "activity"])
async def test_what_an_asynchronous_standby_lacked_is_named_by_the_audit_and_mended(
    pair: PostgresPair,
    fresh_database: FreshDatabase,
    redis_url: str,
    issuer: Issuer,
    tmp_path: Path,
    of_the_pair: str,
) -> None:
    other = {"metering": "activity", "activity": "metering"}[of_the_pair]
    with psycopg.connect(pair.primary.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {of_the_pair}")
    apply_schema(pair.primary.dsn(of_the_pair), schema_of(f"{of_the_pair}_service"))
    dsns = {of_the_pair: pair.dsn(of_the_pair), other: fresh_database(f"{other}_service")}
    async with run_shop(dsns, redis_url, issuer, resolve_after_seconds=1) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        await shop.give_credits(100)
        await shop.sell("kept", 4)
        await settle(dsns)
        await asyncio.to_thread(pair.wait_for_the_standby)
        assert (await operator.audit()).code == 0
        await asyncio.to_thread(pair.cut_the_standby_off)
        await shop.sell("lost", 4)
        await settle(dsns)
        await asyncio.to_thread(pair.kill_the_primary)
        await asyncio.to_thread(pair.promote_the_standby)

    async with run_shop(dsns, redis_url, issuer, resolve_after_seconds=1) as shop:
        operator = Operator(dsns, shop.metering_url, tmp_path)
        await settle(dsns)
        found = await operator.audit()
        assert found.code == 1
        if of_the_pair == "metering":
            assert found.output.count("fact_uncharged") >= 6
            assert '"announced": 6' in await operator.recharge()
        else:
            assert found.output.count("charge_without_fact") >= 6
            # Their caller repeats its keys.
            await shop.sell("lost", 4)
        await settle(dsns)
        await wait_for(dsns["metering"], HOLDS, 0)
        sound = await operator.audit()
        assert sound.code == 0, sound.output
        assert count(dsns["metering"], CHARGES) == count(dsns["activity"], FACTS) == 6 + 6
