"""What operators and other people's tools see of a running catalog."""

import pytest

from catalog_service.endpoints import ENDPOINTS
from catalog_service.settings import Settings
from service_chassis.application import METRICS
from service_chassis.settings import InvalidSettings
from tests.catalog_service.catalog import Catalog


async def test_every_call_is_documented_with_its_refusals(catalog: Catalog) -> None:
    document = await (await catalog.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        statuses = set(operation["responses"])
        assert {"200", "500"} <= statuses
        assert ("403" in statuses) == bool(operation["security"])
        assert ("400" in statuses) == ("requestBody" in operation)
    page = await catalog.http.get("/docs")
    assert "SwaggerUIBundle" in await page.text()


async def test_metrics_tell_kept_answers_from_encoded_ones(catalog: Catalog) -> None:
    token = await catalog.token()
    for _ in range(3):
        await catalog.plans(token)
    text = catalog.app[METRICS].render().decode()
    assert 'catalog_plan_lists_total{source="encoded"} 1.0' in text
    assert 'catalog_plan_lists_total{source="kept"} 2.0' in text
    assert 'route="/get-plans",status="200"' in text


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"log_level": "loud"}, "CATALOG_LOG_LEVEL"),
        ({"token_lifetime_seconds": 0}, "CATALOG_TOKEN_LIFETIME_SECONDS"),
        ({"token_lifetime_seconds": 86_401}, "CATALOG_TOKEN_LIFETIME_SECONDS"),
        ({"postgres_pool_size": 0}, "CATALOG_POSTGRES_POOL_SIZE"),
        ({"encoded_plans_limit_bytes": -1}, "CATALOG_ENCODED_PLANS_LIMIT_BYTES"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, object], variable: str) -> None:
    with pytest.raises(InvalidSettings, match=variable):
        Settings(postgres_dsn="", **settings)  # type: ignore[arg-type]
