"""Authorize, settle, release, and look-ups of events.

Long because what is published about five calls, half of it examples, stands beside their handlers.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from marshmallow import ValidationError

from metering_service.api.auth import authenticate
from metering_service.api.event_schemas import (
    BillableEventSchema,
    DecisionsSchema,
    EventsFrameSchema,
    EventsSchema,
    EventStateSchema,
    HeldEventsSchema,
    HoldIdsSchema,
    ReleasesSchema,
    SettlementsSchema,
)
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_IDENTIFIER,
    describe_identifier,
    describe_missing,
    describe_refused_keys,
    describe_wrong_field,
    read_identifier,
    read_page,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.errors import EventNotFound
from metering_service.events.event import (
    EVENT_WITH_OTHER_CONTENT,
    SENTENCES,
    BillableEvent,
    Decision,
    EventState,
    HeldEvent,
    Settlement,
)
from metering_service.events.read import FIRST_HELD
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query
from service_chassis.schema.load import compile_load

_HOLD_IDS = HoldIdsSchema()
_load_frame = compile_load(EventsFrameSchema())
_load_event = compile_load(BillableEventSchema())

_HELD_PARAMETERS = (
    {**query("state", "Must be held.", {"type": "string", "enum": ["held"]}), "required": True},
    query(
        "olderThanSeconds",
        "Held at least this long.",
        {"type": "integer", "minimum": 0, "maximum": 10 * 365 * 86_400},
    ),
    *PAGE_PARAMETERS,
)


async def authorize_events(request: web.Request) -> web.Response:
    """POST /internal/events/authorize."""
    authenticate(request, "events")
    events, faults = await _read_events(request)
    decisions = iter(await request.app[COMPONENTS].authorizations.authorize(events))
    return respond(
        {
            "decisions": [
                _render_invalid(*fault, "decision") if fault else _render_decision(next(decisions))
                for fault in faults
            ]
        }
    )


async def settle_events(request: web.Request) -> web.Response:
    """POST /internal/events/settle."""
    authenticate(request, "events")
    events, faults = await _read_events(request)
    settlements = iter(await request.app[COMPONENTS].settlements.settle(events))
    return respond(
        {
            "results": [
                _render_invalid(*fault, "state") if fault else _render_settlement(next(settlements))
                for fault in faults
            ]
        }
    )


async def release_holds(request: web.Request) -> web.Response:
    """POST /internal/events/release."""
    authenticate(request, "events")
    hold_ids = (await read_body(request, _HOLD_IDS))["hold_ids"]
    states = await request.app[COMPONENTS].releases.release(hold_ids)
    return respond(
        {
            "results": [
                {"holdId": str(hold_id), "state": state} for hold_id, state in zip(hold_ids, states, strict=True)
            ]
        }
    )


async def get_event(request: web.Request) -> web.Response:
    """GET /internal/events/{eventId}."""
    authenticate(request, "events", "admin")
    return respond(_render_state(await request.app[COMPONENTS].events.fetch(read_identifier(request, "eventId"))))


async def list_held_events(request: web.Request) -> web.Response:
    """GET /internal/events?state=held."""
    authenticate(request, "events", "admin")
    wanted = read_query(request, _HELD_PARAMETERS)
    limit, (held_at, hold_id) = read_page(wanted, FIRST_HELD, _parse_moment, _parse_uuid)
    events, last = await request.app[COMPONENTS].events.list_held(
        wanted["olderThanSeconds"] or 0, (held_at, hold_id), limit
    )
    next_cursor = encode_cursor(last.held_at, last.hold_id) if last else None
    return respond({"events": [_render_held(event) for event in events], "nextCursor": next_cursor})


def _parse_moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not UTC:
        raise ValueError
    return moment


def _parse_uuid(value: Any) -> UUID:
    if not isinstance(value, str):
        raise TypeError
    return UUID(value)


async def _read_events(request: web.Request) -> tuple[list[BillableEvent], list[tuple[Any, str] | None]]:
    """Return the good events, and per event of the request None or (the event, what is wrong with it)."""
    documents = (await read_body(request, _load_frame))["events"]
    events: list[BillableEvent] = []
    faults: list[tuple[Any, str] | None] = []
    for document in documents:
        try:
            loaded = _load_event(document)
        except ValidationError as error:
            faults.append((document, _explain(error)))
            continue
        loaded["hold_id"] = loaded["hold_id"].lower()
        events.append(BillableEvent(**loaded))
        faults.append(None)
    return events, faults


def _explain(error: ValidationError) -> str:
    if not isinstance(error.messages, dict):
        return "Must be an object."
    return (
        "; ".join(
            f"{field}: {' '.join(map(str, words)) if isinstance(words, list) else words}"
            for field, words in error.messages.items()
            if field != "_schema"
        )
        or "Must be an object."
    )


def _render_invalid(document: Any, message: str, verdict: str) -> dict[str, Any]:
    ids = document if isinstance(document, dict) else {}
    return {
        "holdId": ids.get("holdId") if isinstance(ids.get("holdId"), str) else None,
        "eventId": ids.get("eventId") if isinstance(ids.get("eventId"), str) else None,
        verdict: "invalid",
        "code": "invalid_event",
        "message": message,
    }


def _render_decision(decision: Decision) -> dict[str, Any]:
    document: dict[str, Any] = {
        "holdId": decision.hold_id,
        "eventId": decision.event_id,
        "decision": decision.decision,
    }
    if decision.code is not None:
        document["code"] = decision.code
        document["message"] = SENTENCES[decision.code]
    if decision.decision == "denied":
        document["retryAfterSeconds"] = decision.retry_after_seconds
    if decision.receipt is not None:
        document["receipt"] = orjson.Fragment(decision.receipt)
    return document


def _render_settlement(settlement: Settlement) -> dict[str, Any]:
    document: dict[str, Any] = {
        "holdId": settlement.hold_id,
        "eventId": settlement.event_id,
        "state": settlement.state,
    }
    if settlement.state == "settled":
        document |= {"credits": settlement.credits, "late": settlement.late}
    else:
        document["message"] = SENTENCES[EVENT_WITH_OTHER_CONTENT]
    return document


def _render_state(state: EventState) -> dict[str, Any]:
    receipt = orjson.loads(state.receipt) if state.receipt else {}
    receipt |= {
        "heldAt": state.held_at,
        "settledAt": state.closed_at if state.state == "settled" else None,
        "releasedAt": state.closed_at if state.state == "released" else None,
        "late": state.late,
    }
    return {"eventId": state.event_id, "holdId": state.hold_id, "state": state.state, "receipt": receipt}


def _render_held(event: HeldEvent) -> dict[str, Any]:
    document: dict[str, Any] = {
        "holdId": event.hold_id,
        "eventId": event.event_id,
        "clientId": event.client_id,
        "eventType": event.event_type,
        "units": event.units,
        "heldAt": event.held_at,
    }
    return document if event.user_id is None else document | {"userId": event.user_id}


_EVENT_EXAMPLE = {
    "holdId": "0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
    "eventId": "plan_play.created:0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77",
    "clientId": "demo",
    "eventType": "plan_play.created",
}

_HOLD_ID, _EVENT_ID = _EVENT_EXAMPLE["holdId"], _EVENT_EXAMPLE["eventId"]
_IDS = {"holdId": _HOLD_ID, "eventId": _EVENT_ID}
_RECEIPT = {
    "policyId": "starter",
    "policyVersion": 2,
    "mode": "enforce",
    "wouldRefuse": None,
    "credits": 1,
    "gates": {
        "rate": {"limit": 100, "usedBefore": 3},
        "quota": {"limit": 10_000, "usedBefore": 12},
        "credits": {"availableBefore": 998},
    },
}
_HELD_AT = "2026-07-01T09:00:00.120000Z"
_EVENTS = describe_refused_keys("events")
_EITHER = describe_refused_keys("events", "admin")
_WRONG_EVENTS = describe_wrong_field("events", "Shorter than minimum length 1.")

ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/events/authorize",
        authorize_events,
        summary="Authorize events",
        description="Decides about events, and holds what is granted. Each event for itself; one that is not as it "
        "should be gets the decision `invalid`. The same hold again, or a further attempt at a held or settled "
        "event, is granted and takes nothing more. Denials are not remembered. Scope `events`.",
        tag="events",
        body=EventsSchema,
        body_examples={"One event": {"events": [_EVENT_EXAMPLE]}},
        responses={
            200: Success(
                "Decisions, in the order of the events.",
                DecisionsSchema,
                {"decisions": [{**_IDS, "decision": "granted", "receipt": _RECEIPT}]},
            )
        },
        failures=[_WRONG_EVENTS, *_EVENTS],
    ),
    Endpoint(
        "POST",
        "/internal/events/settle",
        settle_events,
        summary="Settle events",
        description="Charges facts, each once for ever. Repeats are harmless. A fact whose hold is unknown or "
        "released is charged all the same, late. Scope `events`.",
        tag="events",
        body=EventsSchema,
        body_examples={"One event": {"events": [_EVENT_EXAMPLE]}},
        responses={
            200: Success(
                "Results, in the order of the events.",
                SettlementsSchema,
                {"results": [{**_IDS, "state": "settled", "credits": 1, "late": False}]},
            )
        },
        failures=[_WRONG_EVENTS, *_EVENTS],
    ),
    Endpoint(
        "POST",
        "/internal/events/release",
        release_holds,
        summary="Release holds",
        description="Gives back holds of facts that did not happen. A settled one stays settled; an unknown one is "
        "remembered as released. Scope `events`.",
        tag="events",
        body=HoldIdsSchema,
        body_examples={"One hold": {"holdIds": [_HOLD_ID]}},
        responses={
            200: Success(
                "Results, in the order of the holds.",
                ReleasesSchema,
                {"results": [{"holdId": _HOLD_ID, "state": "released"}]},
            )
        },
        failures=[describe_wrong_field("holdIds.0", "Not a valid UUID."), *_EVENTS],
    ),
    Endpoint(
        "GET",
        "/internal/events/{eventId}",
        get_event,
        summary="Get an event",
        description="Where it stands, with its receipt. Scope `events` or `admin`.",
        tag="events",
        parameters=(describe_identifier("eventId", "The fact's id."),),
        responses={
            200: Success(
                "The event.",
                EventStateSchema,
                {
                    **_IDS,
                    "state": "settled",
                    "receipt": {
                        **_RECEIPT,
                        "heldAt": _HELD_AT,
                        "settledAt": "2026-07-01T09:00:00.250000Z",
                        "releasedAt": None,
                        "late": False,
                    },
                },
            )
        },
        failures=[describe_wrong_field("eventId", WRONG_IDENTIFIER), describe_missing(EventNotFound()), *_EITHER],
    ),
    Endpoint(
        "GET",
        "/internal/events",
        list_held_events,
        summary="List held events",
        description="What the calling service has not resolved. A hold never ends by itself: its caller looks it up, "
        "and settles or releases it. Scope `events` or `admin`.",
        tag="events",
        parameters=_HELD_PARAMETERS,
        responses={
            200: Success(
                "Held events, oldest first.",
                HeldEventsSchema,
                {"events": [{**_EVENT_EXAMPLE, "units": 1, "heldAt": _HELD_AT}], "nextCursor": None},
            )
        },
        failures=[describe_wrong_field("state", "Must be held."), *_EITHER],
    ),
)
