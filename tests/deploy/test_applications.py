"""What an operator sets reaches the applications."""

from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from catalog_service.admin_app import create_admin_app as create_catalog_admin
from catalog_service.app import create_app as create_catalog
from catalog_service.settings import CatalogSettings
from metering_service.admin_app import create_admin_app as create_metering_admin
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from service_chassis.http.bounds import ADMIN_CONNECTIONS, BOUNDS, DEFAULT_BOUNDS

DSN, ADDRESS = "postgresql://nowhere/none", "http://nowhere.invalid"
CATALOG = CatalogSettings(postgres_dsn=DSN)
METERING = MeteringSettings(postgres_dsn=DSN, redis_url="redis://nowhere", service_keys=())


@pytest.mark.parametrize(
    ("create_app", "settings"),
    [
        (create_catalog, CATALOG),
        (
            create_activity,
            ActivitySettings(postgres_dsn=DSN, jwks_url=ADDRESS, metering_url=ADDRESS, metering_key="k"),
        ),
        (create_metering, METERING),
    ],
)
def test_connections_are_kept_for_as_long_as_is_said(create_app: Any, settings: Any) -> None:
    app: web.Application = create_app(replace(settings, keep_alive_seconds=7.0))
    assert app[BOUNDS] == replace(DEFAULT_BOUNDS, idle_seconds=7.0)


@pytest.mark.parametrize(
    ("create_app", "create_admin_app", "settings"),
    [(create_catalog, create_catalog_admin, CATALOG), (create_metering, create_metering_admin, METERING)],
)
def test_administration_keeps_connections_as_long_and_takes_fewer(
    create_app: Any, create_admin_app: Any, settings: Any
) -> None:
    settings = replace(settings, keep_alive_seconds=7.0)
    admin: web.Application = create_admin_app(create_app(settings), settings)
    assert admin[BOUNDS] == replace(DEFAULT_BOUNDS, idle_seconds=7.0, connections=ADMIN_CONNECTIONS)
