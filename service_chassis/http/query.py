"""Read query strings by the parameters that are published: what the document says is what is accepted."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.errors import FieldError, InvalidRequest
from service_chassis.openapi.endpoint import Endpoint
from service_chassis.schema.fields import FIRST_YEAR, LAST_YEAR, is_storable

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")

Parameters = Sequence[Mapping[str, Any]]
"""OpenAPI parameter objects, as `service_chassis.openapi.endpoint.query` makes them."""


def read_query(request: web.Request, parameters: Parameters) -> dict[str, Any]:
    """Return the value of each of the `parameters` that stand in the query, None for one that is absent.

    Integers, days, months (as their first day) and moments are read as such. Raises InvalidRequest naming each
    parameter that cannot be used, and those that are not listed: a misspelled filter must not widen what is returned.
    """
    values: dict[str, Any] = {}
    known = {parameter["name"] for parameter in parameters}
    faults = [FieldError(name[:100], "Unknown parameter.") for name in request.query if name not in known]
    for parameter in parameters:
        name = parameter["name"]
        given = request.query.getall(name, [])
        values[name] = None
        try:
            if len(given) > 1:
                raise ValueError("Must be given once.")
            if given:
                values[name] = _read(given[0], parameter["schema"])
            elif parameter.get("required"):
                _read("", parameter["schema"])
        except ValueError as error:
            faults.append(FieldError(name, str(error)))
    if faults:
        raise InvalidRequest(details=faults)
    return values


def _read(text: str, schema: Mapping[str, Any]) -> Any:
    """Return the value of a parameter. Raises ValueError that says what it must be."""
    if not is_storable(text):
        raise ValueError("Must be text in UTF-8 without NUL characters.")
    if "enum" in schema and text not in schema["enum"]:
        one_of = "" if len(schema["enum"]) == 1 else "one of: "
        raise ValueError(f"Must be {one_of}{', '.join(schema['enum'])}.")
    if schema["type"] == "integer":
        least, most = schema["minimum"], schema["maximum"]
        if not (_INTEGER.fullmatch(text) and least <= int(text) <= most):
            raise ValueError(f"Must be an integer from {least} to {most}.")
        return int(text)
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)):
        raise ValueError(f"Must be {schema.get('minLength', 0)} to {schema['maxLength']} characters.")
    read, fault = _FORMATS.get(schema.get("format", ""), (str, ""))
    try:
        return read(text)
    except ValueError:
        raise ValueError(fault) from None


def _read_day(text: str) -> date:
    """Return a day. Raises ValueError."""
    day = date.fromisoformat(text)
    if not _DAY.fullmatch(text) or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError
    return day


def _read_month(text: str) -> date:
    """Return a month's first day. Raises ValueError."""
    if not _MONTH.fullmatch(text):
        raise ValueError
    return _read_day(f"{text}-01")


def read_moment(text: str) -> datetime:
    """Return a moment in UTC, in ISO 8601 as `encode_cursor` writes it, too. Raises ValueError for any other text.

    Other offsets are none of ours, and near the calendar's ends the database's driver cannot convert them.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not UTC:
        raise ValueError
    return moment


MONTH = {"type": "string", "format": "year-month", "pattern": "^(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])$"}
"""The schema of a month."""

_FORMATS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "date": (_read_day, "Must be a day, such as 2026-07-01."),
    "year-month": (_read_month, "Must be a month, such as 2026-07."),
    "date-time": (read_moment, "Must be a moment of UTC, such as 2026-07-01T14:03:00Z."),
}
"""How a text of a format is read, and what is said of one that cannot be."""


def known_query_middleware(endpoints: Sequence[Endpoint]) -> Middleware:
    """Make the middleware that refuses parameters which a call does not know, and known ones given twice.

    A typing error must not widen a question. For an API whose calls are all our own; it goes innermost. Where
    somebody else's document says nothing about further parameters, leave it out: there they are ignored.
    """
    known = {
        (endpoint.method, endpoint.path): frozenset(
            parameter["name"] for parameter in endpoint.parameters if parameter["in"] == "query"
        )
        for endpoint in endpoints
    }

    # No coroutine of its own: most requests have no query, and pass through it at no more than a look at their path.
    @web.middleware
    def refuse_unknown(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        if "?" in request.raw_path:
            resource = request.match_info.route.resource
            names = known.get((request.method, resource.canonical if resource is not None else ""))
            if names is not None:
                _require_known(request, names)
        return handler(request)

    return refuse_unknown


def _require_known(request: web.Request, names: frozenset[str]) -> None:
    faults = [
        FieldError(name[:100], "Unknown parameter." if name not in names else "Must be given once.")
        for name in dict.fromkeys(request.query)
        if name not in names or len(request.query.getall(name)) > 1
    ]
    if faults:
        raise InvalidRequest(details=faults)
