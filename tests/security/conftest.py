"""The whole product in one process, for tests about who may do what."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.security.house import House


@pytest.fixture
async def house(catalog_dsn: str, activity_dsn: str, metering_dsn: str, redis_url: str) -> AsyncIterator[House]:
    dsns = {"catalog": catalog_dsn, "activity": activity_dsn, "metering": metering_dsn}
    async with aiohttp.ClientSession() as http:
        house = await House.build(dsns, redis_url, http)
        yield house
        await house.close()
