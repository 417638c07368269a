"""What operators and other people's tools see of a running catalog."""

from contextlib import AsyncExitStack

import pytest

from catalog_service.components import COMPONENTS
from catalog_service.settings import CatalogSettings
from service_chassis.application import METRICS, READINESS
from service_chassis.settings import InvalidSettings, read_settings
from tests.catalog_service.catalog import Catalog


async def test_metrics_tell_kept_answers_from_encoded_ones(catalog: Catalog) -> None:
    token = await catalog.token()
    for _ in range(3):
        await catalog.plans(token)
    text = catalog.app[METRICS].render().decode()
    assert 'catalog_plan_lists_total{source="encoded"} 1.0' in text
    assert 'catalog_plan_lists_total{source="kept"} 2.0' in text
    assert 'route="/get-plans",status="200"' in text


async def test_a_catalog_whose_requests_keep_every_connection_is_ready(catalog: Catalog) -> None:
    assert await catalog.app[READINESS].find_not_ready() == []
    pool = catalog.app[COMPONENTS].plans.pool
    async with AsyncExitStack() as held:
        for _ in range(pool.get_max_size()):
            await held.enter_async_context(pool.acquire())
        assert await catalog.app[READINESS].find_not_ready() == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CATALOG_POSTGRES_DSN", ""),
        ("CATALOG_LOG_LEVEL", "loud"),
        ("CATALOG_PORT", "65536"),
        ("CATALOG_TOKEN_LIFETIME_SECONDS", "0"),
        ("CATALOG_TOKEN_LIFETIME_SECONDS", "86401"),
        ("CATALOG_POSTGRES_POOL_SIZE", "0"),
        ("CATALOG_ENCODED_PLANS_LIMIT_BYTES", "-1"),
    ],
)
def test_settings_that_cannot_work_are_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv("CATALOG_POSTGRES_DSN", "postgresql://localhost/catalog")
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings, match=variable):
        read_settings(CatalogSettings)
