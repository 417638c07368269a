"""Envelopes as HTTP answers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aiohttp import web

from catalog_service.api.envelope import UNEXPECTED, encode_envelope, encode_error
from catalog_service.plans.encoded import EncodedPlans
from service_chassis.errors import ServiceError
from service_chassis.http.json_response import JsonAnswer

_PLAIN = {"Vary": "Accept-Encoding"}
_GZIPPED = {**_PLAIN, "Content-Encoding": "gzip"}
_MOST_DETAILS = 10
"""Fields named in one message; an array of many wrong elements has as many details."""


def succeed(data: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Make the answer of a success."""
    return JsonAnswer(encode_envelope(data), headers=headers)


def succeed_encoded(plans: EncodedPlans) -> web.Response:
    """Make the answer of a success from a body that is encoded already."""
    return JsonAnswer(plans.body, headers=_GZIPPED if plans.gzipped else _PLAIN)


def render_error(error: ServiceError) -> web.Response:
    """Make the answer of an error; a wrong request's message names the fields."""
    message = error.message
    if error.status >= 500:
        message = UNEXPECTED
    elif error.details:
        message = " ".join(f"{detail.field}: {detail.message}" for detail in error.details[:_MOST_DETAILS])
    return JsonAnswer(encode_error(error.status, message), error.status)


def accepts_gzip(request: web.Request) -> bool:
    """Tell whether the caller takes a gzipped answer (RFC 9110, 12.5.3)."""
    return _names_gzip(request.headers.get("Accept-Encoding", ""))


@lru_cache(maxsize=256)
def _names_gzip(header: str) -> bool:
    accepted: dict[str, bool] = {}
    for part in header.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        accepted[coding] = not (weight.startswith("q=0") and not weight.strip("q=0."))
    return accepted.get("gzip", accepted.get("*", False))
