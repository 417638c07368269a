"""What an operator sets reaches the applications."""

from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from catalog_service.app import create_app as create_catalog
from catalog_service.settings import CatalogSettings
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from service_chassis.http.bounds import BOUNDS, DEFAULT_BOUNDS

DSN, ADDRESS = "postgresql://nowhere/none", "http://nowhere.invalid"


@pytest.mark.parametrize(
    ("create_app", "settings"),
    [
        (create_catalog, CatalogSettings(postgres_dsn=DSN)),
        (
            create_activity,
            ActivitySettings(postgres_dsn=DSN, jwks_url=ADDRESS, metering_url=ADDRESS, metering_key="k"),
        ),
        (create_metering, MeteringSettings(postgres_dsn=DSN, redis_url="redis://nowhere", service_keys=())),
    ],
)
def test_connections_are_kept_for_as_long_as_is_said(create_app: Any, settings: Any) -> None:
    app: web.Application = create_app(replace(settings, keep_alive_seconds=7.0))
    assert app[BOUNDS] == replace(DEFAULT_BOUNDS, idle_seconds=7.0)
