"""The OpenAPI 3.1 document of a table of calls, from the schemas that validate and the errors that are raised."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson
from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import RAISE, Schema, fields, validate

from service_chassis.openapi.endpoint import (
    MALFORMED,
    UNAVAILABLE,
    Api,
    Endpoint,
    Failure,
    SchemaLike,
    Success,
    header,
)

_SECURITY = "bearer"
_JSON = "application/json"
_ANY_ERROR = "Error"
_SHARED = {MALFORMED: "Malformed", UNAVAILABLE: "Unavailable"}
"""Failures of every call that has none of its own of that status, by the name that they stand under."""
_REQUEST_ID = header(
    "X-Request-ID",
    "An id for this request in responses and logs: 1 to 128 letters, digits and `._:-`. Anything else is replaced.",
)
_TRACEPARENT = header("traceparent", "W3C Trace Context; passed on, under a parent id of our own.")
_SENT_REQUEST_ID = {
    "description": "The request's id: the one it came with, or one made here.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_ERROR_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Retry-After": {
        "description": "Whole seconds after which the same request is not refused for the same reason.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit": {
        "description": "What is left of each limit, and in how many seconds all of it will be, as "
        "draft-ietf-httpapi-ratelimit-headers says.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {"description": "Each limit by its name.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string", "enum": ["Bearer"]}},
}


class _Converter(OpenAPIConverter):
    """Closes what a request may hold where unknown fields are refused; responses may grow, and stay open.

    A schema's own `json_schema`, a mapping, adds what its fields cannot say: which of them go together.
    """

    request_schemas: AbstractSet[type[Schema]] = frozenset()

    def schema2jsonschema(self, schema: Schema | type[Schema]) -> dict[str, Any]:
        document: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        document.pop("additionalProperties", None)
        kind = schema if isinstance(schema, type) else type(schema)
        if kind in self.request_schemas and kind().unknown == RAISE:
            document["additionalProperties"] = False
        for member in document["properties"].values():
            _separate_null(member)
        if kind.__doc__:
            document["description"] = " ".join(kind.__doc__.split())
        return document | dict(getattr(kind, "json_schema", {}))


def _separate_null(member: dict[str, Any]) -> None:
    """Say of a value or null that it is either: makers of clients take an enum of two types for several enums."""
    if None in member.get("enum", ()):
        kinds = [kind for kind in member.pop("type") if kind != "null"]
        values = [value for value in member.pop("enum") if value is not None]
        member["anyOf"] = [{"type": kinds[0], "enum": values}, {"type": "null"}]


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def describe(endpoints: Sequence[Endpoint], api: Api) -> dict[str, Any]:
    """Return the document."""
    plugin = _Plugin(schema_name_resolver=_component_name)
    spec = APISpec(
        title=api.title,
        version=api.version,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={
            "description": api.description,
            "contact": {"name": "The engineers of the service"},
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        servers=[{"url": "/", "description": "The service that publishes this document."}],
        tags=[{"name": name, "description": text} for name, text in api.tags.items()],
    )
    assert isinstance(plugin.converter, _Converter)  # noqa: S101 - made by APISpec
    for describe_more in (_describe_keys, _describe_excluded):
        plugin.converter.add_attribute_function(describe_more)  # type: ignore[no-untyped-call]
    plugin.converter.request_schemas = _find_request_schemas(endpoints)
    spec.components.security_scheme(_SECURITY, {"type": "http", "scheme": "bearer", **api.bearer})
    for name, parameter in (("RequestId", _REQUEST_ID), ("Traceparent", _TRACEPARENT)):
        spec.components.parameter(name, "header", parameter)
    spec.components.response(_ANY_ERROR, _any_error(api))
    for failure, component in _SHARED.items():
        if any(failure.status not in {own.status for own in endpoint.failures} for endpoint in endpoints):
            spec.components.response(component, _error(failure, api))
    operations: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, api)
    for route, by_method in operations.items():
        spec.path(path=route, operations=by_method)
    return dict(spec.to_dict())


def _find_request_schemas(endpoints: Sequence[Endpoint]) -> set[type[Schema]]:
    found: set[type[Schema]] = set()
    waiting = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    while waiting:
        schema = waiting.pop()
        if schema not in found:
            found.add(schema)
            waiting += _list_nested(list(schema().fields.values()))
    return found


def _list_nested(members: list[Any]) -> list[type[Schema]]:
    inner = [member.inner if isinstance(member, fields.List) else member for member in members]
    return [type(member.schema) for member in inner if isinstance(member, fields.Nested)]


def _describe_keys(converter: OpenAPIConverter, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
    """Say of an object with free names what they may be; apispec says it of the values only."""
    if not isinstance(field, fields.Dict) or field.key_field is None:
        return {}
    return {"propertyNames": converter.field2property(field.key_field)}


def _describe_excluded(_: OpenAPIConverter, field: fields.Field[Any], **__: Any) -> dict[str, Any]:
    """Say which values are refused within a range; apispec leaves it out."""
    values = [value for check in field.validators if isinstance(check, validate.NoneOf) for value in check.iterable]
    return {"not": {"enum": values}} if values else {}


def _component_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _operation(endpoint: Endpoint, api: Api) -> dict[str, Any]:
    failures = {failure.status: failure for failure in endpoint.failures}
    responses: dict[str, Any] = {str(status): _success(success) for status, success in endpoint.responses.items()}
    responses |= {str(status): _error(failures[status], api) for status in sorted(failures)}
    for failure, component in _SHARED.items():
        responses.setdefault(str(failure.status), component)
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [*(dict(parameter) for parameter in endpoint.parameters), "RequestId", "Traceparent"],
        # Once for all, so that what is particular about a call is seen.
        "responses": {**responses, "default": _ANY_ERROR},
        "security": [{_SECURITY: []}] if endpoint.secured else [],
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": _content(_JSON, endpoint.body, endpoint.body_examples),
        }
    return operation


def _success(success: Success) -> dict[str, Any]:
    headers = {
        name: {"description": said, "schema": {"type": "string"}} if isinstance(said, str) else dict(said)
        for name, said in success.headers.items()
    }
    content = _content(success.content_type, success.schema, {"answer": success.example})
    for content_type, example in success.also.items():
        content |= _content(content_type, {"type": "string"}, {"answer": example})
    return {
        "description": success.description,
        "headers": headers | {"X-Request-ID": {**_SENT_REQUEST_ID, "required": True}},
        "content": content,
    }


def _error(failure: Failure, api: Api) -> dict[str, Any]:
    examples = {}
    for error in failure.errors:
        name = error.details[0].field if error.details else error.message
        examples[name] = orjson.loads(_body_of(api.render_error(error)))
    sent = {
        name: all(name in error.headers for error in failure.errors)
        for error in failure.errors
        for name in error.headers
    }
    headers = {name: {**_ERROR_HEADERS[name], "required": always} for name, always in sent.items()}
    return {
        "description": failure.description,
        "headers": headers | {"X-Request-ID": _SENT_REQUEST_ID},
        "content": _content(_JSON, api.error_schema(failure.status), examples),
    }


def _any_error(api: Api) -> dict[str, Any]:
    """Describe what any call may respond with, by one shape; each example is named by its status."""
    failures = api.common_failures
    return {
        "description": "\n".join(f"- {failure.status}: {failure.description}" for failure in failures),
        "headers": {"X-Request-ID": _SENT_REQUEST_ID},
        "content": _content(
            _JSON,
            api.error_schema(500),
            {str(each.status): orjson.loads(_body_of(api.render_error(each.errors[0]))) for each in failures},
        ),
    }


def _body_of(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)  # noqa: S101 - errors are rendered whole
    return response.body


def _content(content_type: str, schema: SchemaLike, examples: Mapping[str, Any]) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema}
    if examples:
        media["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {content_type: media}
