"""Catalogs on a real database, as many processes' worth as a test wants, with a clock that the test moves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp.pytest_plugin import AiohttpClient, AiohttpServer

from catalog_service.app import create_app
from catalog_service.settings import CatalogSettings
from service_chassis.database.pool import open_pool
from tests.catalog_service.catalog import Catalog, MovableClock

StartCatalog = Callable[..., Awaitable[Catalog]]
"""Starts one more catalog on the test's database; takes settings by name."""


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def pool(catalog_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """An operator's connections to the test's database."""
    async with open_pool(catalog_dsn, size=4, application_name="test") as pool:
        yield pool


@pytest.fixture
def start_catalog(
    catalog_dsn: str,
    clock: MovableClock,
    aiohttp_server: AiohttpServer,
    aiohttp_client: AiohttpClient,
    pool: asyncpg.Pool,
) -> StartCatalog:
    async def start(**settings: Any) -> Catalog:
        app = create_app(CatalogSettings(**{"postgres_dsn": catalog_dsn, **settings}), clock=clock)
        # As service_chassis.application runs it: a compressed body is refused, not unpacked.
        server = await aiohttp_server(app, auto_decompress=False)
        return Catalog(await aiohttp_client(server), app, pool, clock)

    return start


@pytest.fixture
async def catalog(start_catalog: StartCatalog) -> Catalog:
    return await start_catalog()
