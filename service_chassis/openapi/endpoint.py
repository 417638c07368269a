"""A service's table of calls: each call's route, and all that is published about it, in one entry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp.typedefs import Handler
from marshmallow import Schema

from service_chassis.errors import (
    HttpFault,
    InvalidRequest,
    PayloadTooLarge,
    ServiceError,
    UnsupportedMediaType,
)
from service_chassis.http.error_rendering import RenderError

SchemaLike = type[Schema] | Mapping[str, Any]
"""A marshmallow class, or a JSON Schema which may hold such classes."""


STRICT_JSON = (
    "Bodies are strict JSON in UTF-8: names are not repeated, integers have no fraction and fit into 64 bits, "
    "nothing is nested deeper than 32, and there are no NUL characters and no lone surrogates. Lengths are in "
    "code points."
)
"""How every service reads bodies, for its description."""


@dataclass(frozen=True)
class Success:
    """One documented success: `schema` of its body, `headers` by name with a description or a header object."""

    description: str
    schema: SchemaLike
    example: Any
    headers: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    content_type: str = "application/json"
    also: Mapping[str, str] = field(default_factory=dict)
    """Examples of the same as text of other content types, by these."""


class Failure:
    """One documented error, described by `errors` as they are raised: they give status, examples and headers."""

    def __init__(self, description: str, *errors: ServiceError) -> None:
        self.description = description
        self.errors = errors
        self.status = errors[0].status


@dataclass(frozen=True)
class Endpoint:
    """One call: its route, who may use it, what goes in and what comes out.

    `failures` are its own; those that every call of the API may respond with stand once in the document.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    description: str
    tag: str
    responses: Mapping[int, Success]
    failures: Sequence[Failure] = ()
    body: type[Schema] | None = None
    body_required: bool = True
    body_examples: Mapping[str, Any] = field(default_factory=dict)
    """Bodies by what they do, in a word or two."""
    parameters: Sequence[Mapping[str, Any]] = ()
    """OpenAPI parameter objects; those of the path are required and must be listed too."""
    secured: bool = True


@dataclass(frozen=True)
class Api:
    """What the calls of one service have in common."""

    title: str
    version: str
    description: str
    tags: Mapping[str, str]
    """Every tag that a call has, in the order of the calls, with its description."""
    bearer: Mapping[str, str]
    """`description` and `bearerFormat` of what goes into the Authorization header."""
    render_error: RenderError
    render_index: Callable[[Mapping[str, str]], bytes]
    """Returns the body of what says where things are."""
    error_schema: Callable[[int], SchemaLike]
    """Returns the shape that `render_error` gives to errors of a status."""
    body_limit_bytes: int
    refuses_unknown_query: bool = False
    """Whether a call refuses parameters that it does not publish; they are ignored elsewhere."""

    @property
    def common_failures(self) -> Sequence[Failure]:
        """What the frame may say to any call beside MALFORMED and UNAVAILABLE; of bodies, where there is one."""
        kib = self.body_limit_bytes // 1024
        limit = f"{kib} KiB" if kib < 1024 else f"{kib // 1024} MiB"
        return [
            Failure("it took too long to arrive.", HttpFault(408, "Request body took too long")),
            Failure(f"the body is larger than {limit}.", PayloadTooLarge()),
            Failure("the body is not JSON in UTF-8 by its headers, or is encoded.", UnsupportedMediaType()),
            Failure("request line and headers are longer than is read.", _TOO_LONG),
            Failure("a fault on our side, or its outcome is unknown.", ServiceError()),
        ]


_TOO_LONG = HttpFault(431, "Request line or headers too large")
_FULL = HttpFault(503, "Too many connections", headers={"Retry-After": "1"})
MALFORMED = Failure(
    "The request cannot be read; the fields are named.",
    InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
    InvalidRequest.field("request", "Must be well-formed HTTP/1.1."),
)
UNAVAILABLE = Failure("The process has as many connections, or as much to do, as it takes.", _FULL)
"""Failures of every call that the frame says."""


def query(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe an optional query parameter, a string unless `schema` says otherwise."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": dict(schema or {"type": "string"}),
    }


def path(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a path parameter, a string unless `schema` says otherwise."""
    return {**query(name, description, schema), "in": "path", "required": True}


def header(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe an optional request header."""
    return {**query(name, description, schema), "in": "header"}
