"""Metering as it is, and one more route: through the same frame, deciding nothing.

Reads metering's settings. POST /internal/bench/nothing authenticates, reads the body as strictly as authorize
does, and answers a constant of the size of a decision; GET has no body to read.
"""

import orjson
from aiohttp import web

from metering_service.api.auth import authenticate
from metering_service.api.event_schemas import BillableEventSchema, EventsFrameSchema
from metering_service.api.responses import respond
from metering_service.app import create_app
from metering_service.settings import MeteringSettings
from service_chassis import application
from service_chassis.http.json_body import read_body
from service_chassis.operations.logging import configure_logging
from service_chassis.schema.load import compile_load
from service_chassis.settings import read_settings

PATH = "/internal/bench/nothing"

_load_frame = compile_load(EventsFrameSchema())
_load_event = compile_load(BillableEventSchema())
_RECEIPT = orjson.dumps(
    {
        "policyId": "bench",
        "policyVersion": 1,
        "mode": "enforce",
        "wouldRefuse": None,
        "degraded": False,
        "credits": 1,
        "gates": {
            "rates": [{"name": "r", "limit": 1_000_000, "usedBefore": 3}],
            "quotas": [],
            "credits": {"availableBefore": 999_999_999_998},
        },
    }
)
_DECISION = {
    "holdId": "0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
    "eventId": "plan_play.created:0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
    "decision": "granted",
    "receipt": orjson.Fragment(_RECEIPT),
    "limits": [{"name": "r", "limit": 1_000_000, "remaining": 999_996, "resetSeconds": 1}],
}


async def post_nothing(request: web.Request) -> web.Response:
    """Do what every call does, and no more."""
    authenticate(request, "events")
    for document in (await read_body(request, _load_frame))["events"]:
        _load_event(document)
    return respond({"decisions": [_DECISION]})


async def get_nothing(request: web.Request) -> web.Response:
    """Do what every call without a body does."""
    authenticate(request, "events")
    return respond({"decisions": [_DECISION]})


def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(MeteringSettings)
    configure_logging(settings.log_level, "metering_service")
    app = create_app(settings)
    app.router.add_post(PATH, post_nothing)
    app.router.add_get(PATH, get_nothing)
    application.run(app, settings)


if __name__ == "__main__":
    main()
