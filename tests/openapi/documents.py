"""The documents that the three services publish, and what they say of one answer."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema_rs

from activity_service.api import description as activity
from catalog_service.api import description as catalog
from metering_service.api import description as metering
from service_chassis.openapi.document import describe

Document = dict[str, Any]

JSON = "application/json"
METHODS = ("get", "put", "post", "delete", "patch")


@cache
def publish() -> dict[str, Document]:
    """Return the document of each application of each service, as a running one serves it."""
    return {
        "catalog": describe(catalog.ENDPOINTS, catalog.API),
        "catalog_admin": describe(catalog.ADMIN_ENDPOINTS, catalog.ADMIN_API),
        "activity": describe(activity.ENDPOINTS, activity.API),
        "metering": describe(metering.ENDPOINTS, metering.API),
        "metering_admin": describe(metering.ADMIN_ENDPOINTS, metering.ADMIN_API),
    }


def list_responses(document: Document, operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a call responds with, by status. An example of what any call may say is named by its status."""
    shared = document["components"].get("responses", {})
    responses = {
        status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }
    any_error = responses.pop("default", None)
    for status in next(iter(any_error["content"].values()))["examples"] if any_error else ():
        responses.setdefault(status, any_error)
    return responses


def list_operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation of every call."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in METHODS:
                yield method, path, operation


@dataclass(frozen=True)
class DescribedAnswer:
    """What a document says of one status of one call; `body` is that of the first content type."""

    headers: dict[str, dict[str, Any]]
    content_types: set[str]
    body: jsonschema_rs.Draft202012Validator


def read_answers(document: Document) -> dict[tuple[str, str, int], DescribedAnswer]:
    """Return all described answers, by method, path and status. A property that is not described is a fault."""
    components = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    answers = {}
    for method, path, operation in list_operations(document):
        for status, response in list_responses(document, operation).items():
            content = response["content"]
            body = validator(next(iter(content.values()))["schema"], {"components": components})
            answers[method.upper(), path, int(status)] = DescribedAnswer(response["headers"], set(content), body)
    return answers


def validator(schema: dict[str, Any], document: Document) -> jsonschema_rs.Draft202012Validator:
    """Make the validator of a schema of `document`; formats count."""
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
