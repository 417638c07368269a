"""The documents are whole, valid and true of the applications."""

import re
from typing import Any

import orjson
import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from catalog_service.admin_app import create_admin_app as create_catalog_admin
from catalog_service.app import create_app as create_catalog
from catalog_service.settings import CatalogSettings
from metering_service.admin_app import create_admin_app as create_metering_admin
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from service_chassis.openapi.pages import DOCUMENT
from tests.openapi.documents import JSON, list_operations, list_responses, publish, validator

APPLICATIONS = tuple(publish())
OF_THE_DOCUMENTS = {("GET", "/"), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs/{name}")}
"""What renders the documents is not in them."""


def create_apps() -> dict[str, web.Application]:
    dsn, address, secret = "postgresql://nowhere/none", "http://nowhere.invalid", "a secret of the test"
    catalog_settings = CatalogSettings(postgres_dsn=dsn)
    catalog = create_catalog(catalog_settings)
    metering_settings = MeteringSettings(
        postgres_dsn=dsn, redis_url="redis://nowhere", service_keys=("admin:ops:" + "0" * 64,)
    )
    metering = create_metering(metering_settings)
    return {
        "catalog": catalog,
        "catalog_admin": create_catalog_admin(catalog, catalog_settings),
        "activity": create_activity(
            ActivitySettings(postgres_dsn=dsn, jwks_url=address, metering_url=address, metering_key=secret)
        ),
        "metering": metering,
        "metering_admin": create_metering_admin(metering, metering_settings),
    }


@pytest.mark.parametrize("service", APPLICATIONS)
def test_the_document_is_valid_openapi_3_1(service: str) -> None:
    document = publish()[service]
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_documented_and_every_documented_call_is_routed() -> None:
    for service, app in create_apps().items():
        routes = {
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource is not None
            and route.method != "HEAD"
            and not route.resource.canonical.startswith("/console")  # pages for people
        }
        documented = {(method.upper(), path) for method, path, _ in list_operations(publish()[service])}
        assert routes - OF_THE_DOCUMENTS == documented


def test_an_application_serves_the_document_that_the_checks_look_at() -> None:
    for service, app in create_apps().items():
        assert orjson.loads(app[DOCUMENT]()) == publish()[service]


@pytest.mark.parametrize("service", APPLICATIONS)
def test_the_tags_stand_in_the_order_of_their_calls_which_begins_with_what_a_caller_needs_first(service: str) -> None:
    document = publish()[service]
    used = dict.fromkeys(tag for _, _, operation in list_operations(document) for tag in operation["tags"])
    assert [tag["name"] for tag in document["tags"]] == list(used)


@pytest.mark.parametrize("service", APPLICATIONS)
def test_every_example_is_what_its_schema_says(service: str) -> None:
    document = publish()[service]
    for method, path, operation in list_operations(document):
        parts = [*list_responses(document, operation).values()]
        if "requestBody" in operation:
            parts.append(operation["requestBody"])
        for part in parts:
            for media in part["content"].values():
                assert media["examples"], (method, path)
                for example in media["examples"].values():
                    validator(media["schema"], document).validate(example["value"])


@pytest.mark.parametrize("service", APPLICATIONS)
def test_every_call_says_who_may_use_it_and_how_it_is_refused(service: str) -> None:
    document = publish()[service]
    names = [operation["operationId"] for _, _, operation in list_operations(document)]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for _, path, operation in list_operations(document):
        responses = list_responses(document, operation)
        statuses = set(responses)
        assert {"400", "408", "413", "415", "431", "500", "503"} <= statuses
        assert bool({"401", "403"} & statuses) or not operation["security"]
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        placed = {parameter.get("name") for parameter in operation["parameters"] if parameter.get("in") == "path"}
        assert placed == set(re.findall(r"{(\w+)}", path))
        assert responses["503"]["headers"]["Retry-After"]["required"]
        for status, response in responses.items():
            assert "X-Request-ID" in response["headers"]
            if status == "401" and operation["security"]:
                assert response["headers"]["WWW-Authenticate"]["required"]
            is_file = status == "200" and "Content-Disposition" in response["headers"]
            assert is_file or JSON in response["content"]


def test_null_is_said_the_way_of_3_1() -> None:
    def find(node: Any) -> bool:
        if isinstance(node, dict):
            return "nullable" in node or any(find(value) for value in node.values())
        return isinstance(node, list) and any(map(find, node))

    assert not any(map(find, publish().values()))
    play = publish()["activity"]["components"]["schemas"]["PlanPlay"]["properties"]
    assert play["userId"]["type"] == ["string", "null"]
