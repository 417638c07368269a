"""Envelopes as HTTP answers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aiohttp import web

from catalog_service.encoded_plans import EncodedPlans
from catalog_service.envelope import UNEXPECTED, encode_envelope, encode_error
from service_chassis.errors import ServiceError

_MOST_DETAILS = 10
"""Fields named in one message; an array of many wrong elements has as many details."""


def succeed(data: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Make the answer of a success."""
    return web.Response(body=encode_envelope(data), content_type="application/json", headers=headers)


def succeed_encoded(plans: EncodedPlans) -> web.Response:
    """Make the answer of a success from a body that is encoded already."""
    headers = {"Vary": "Accept-Encoding"}
    if plans.gzipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=plans.body, content_type="application/json", headers=headers)


def render_error(error: ServiceError) -> web.Response:
    """Make the answer of an error; a wrong request's message names the fields."""
    message = error.message
    if error.status >= 500:
        message = UNEXPECTED
    elif error.details:
        message = " ".join(f"{detail.field}: {detail.message}" for detail in error.details[:_MOST_DETAILS])
    return web.Response(
        status=error.status, body=encode_error(error.status, message), content_type="application/json"
    )


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
