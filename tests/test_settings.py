"""Every setting of every service: what cannot be used is refused by its name, before anything is opened."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from activity_service.settings import ActivitySettings
from catalog_service.settings import CatalogSettings
from metering_service.settings import MeteringSettings
from service_chassis.settings import InvalidSettings, read_settings

SERVICES = (CatalogSettings, ActivitySettings, MeteringSettings)
NUMBERS = [
    (settings, settings.prefix + field.metadata["variable"])
    for settings in SERVICES
    for field in dataclasses.fields(settings)
    if get_type_hints(settings)[field.name] in (int, float)
]
ROLES = [settings for settings in SERVICES if any(f.name == "postgres_role" for f in dataclasses.fields(settings))]


def refused_for(settings: Any, name: str) -> list[str]:
    """Return what is said of the variable `name`, of all that is said."""
    with pytest.raises(InvalidSettings) as refused:
        read_settings(settings)
    return [line for line in str(refused.value).splitlines() if line.startswith(f"{name}: ")]


@pytest.mark.parametrize("value", ["1000000000000000", "9" * 5000, "1e300", "-1", "nan", "inf", "-inf", ""])
@pytest.mark.parametrize(("settings", "name"), NUMBERS, ids=[name for _, name in NUMBERS])
def test_a_number_that_cannot_be_meant_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: Any, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    [said] = refused_for(settings, name)
    assert len(said) < 200


@pytest.mark.parametrize("value", ["none", "public", "pg_monitor", "a b", "1a", "a" * 64, 'a"b', "Acting"])
@pytest.mark.parametrize("settings", ROLES)
def test_a_role_that_none_can_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: Any, value: str
) -> None:
    monkeypatch.setenv(f"{settings.prefix}POSTGRES_ROLE", value)
    assert len(refused_for(settings, f"{settings.prefix}POSTGRES_ROLE")) == 1


@pytest.mark.parametrize("name", ["ACTIVITY_METERING_URL", "ACTIVITY_JWKS_URL"])
@pytest.mark.parametrize("url", ["http://user:secret@h", "http://h?a=b", "http://h/#a"])
def test_another_services_url_is_refused_by_name_where_a_part_of_it_would_be_lost(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    [said] = refused_for(ActivitySettings, name)
    assert "secret" not in said


@pytest.mark.parametrize("settings", SERVICES)
def test_an_empty_host_is_not_every_address(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv(f"{settings.prefix}HOST", "")
    assert len(refused_for(settings, f"{settings.prefix}HOST")) == 1


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (MeteringSettings, "METERING_SERVICE_KEYS", ","),
        (MeteringSettings, "METERING_DEFAULT_POLICY", ""),
        (ActivitySettings, "ACTIVITY_METERING_URL", "http://127.0.0.1 :8083"),
    ],
)
def test_what_is_empty_or_holds_a_blank_where_none_can_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: Any, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert len(refused_for(settings, name)) == 1
