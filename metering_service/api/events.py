"""Authorize, settle, release, and look-ups of events."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from marshmallow import ValidationError

from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_IDENTIFIER,
    answer,
    identifier,
    read_identifier,
    read_limit,
    read_whole,
    refuse_callers,
    refuse_field,
    refuse_unknown,
)
from metering_service.api.schemas import (
    BillableEventSchema,
    DecisionsResponse,
    EventsFrame,
    EventsRequest,
    EventStateSchema,
    HeldEventsResponse,
    ReleaseRequest,
    ReleasesResponse,
    SettlementsResponse,
)
from metering_service.components import METERING
from metering_service.events.event import EVENT_WITH_OTHER_CONTENT, SENTENCES, BillableEvent, Decision, Settlement
from service_chassis.errors import InvalidRequest, NotFound
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Answer, Endpoint, query
from service_chassis.schema.load import compile_load

_RELEASE_REQUEST = ReleaseRequest()
_load_frame = compile_load(EventsFrame())
_load_event = compile_load(BillableEventSchema())

_MAX_AGE_SECONDS = 10 * 365 * 86_400
_FIRST = ("2000-01-01T00:00:00+00:00", str(UUID(int=0)))


async def authorize_events(request: web.Request) -> web.Response:
    """POST /internal/events/authorize."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "events")
    events, invalid = await _read_events(request)
    decisions = iter(await metering.authorize(events))
    return answer(
        {
            "decisions": [
                _invalid_answer(*fault, "decision") if fault else _render_decision(next(decisions))
                for fault in invalid
            ]
        }
    )


async def settle_events(request: web.Request) -> web.Response:
    """POST /internal/events/settle."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "events")
    events, invalid = await _read_events(request)
    settlements = iter(await metering.settle(events))
    return answer(
        {
            "results": [
                _invalid_answer(*fault, "state") if fault else _render_settlement(next(settlements))
                for fault in invalid
            ]
        }
    )


async def release_holds(request: web.Request) -> web.Response:
    """POST /internal/events/release."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "events")
    hold_ids = (await read_body(request, _RELEASE_REQUEST))["hold_ids"]
    states = await metering.release(hold_ids)
    return answer(
        {
            "results": [
                {"holdId": str(hold_id), "state": state} for hold_id, state in zip(hold_ids, states, strict=True)
            ]
        }
    )


async def get_event(request: web.Request) -> web.Response:
    """GET /internal/events/{eventId}."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "events", "admin")
    row = await metering.holds.fetch_event(read_identifier(request, "eventId"))
    if row is None:
        raise NotFound("Event not found")
    receipt = orjson.loads(row["receipt"]) if row["receipt"] else {}
    receipt |= {
        "heldAt": row["held_at"],
        "settledAt": row["closed_at"] if row["state"] == "settled" else None,
        "releasedAt": row["closed_at"] if row["state"] == "released" else None,
        "late": row["late"],
    }
    return answer(
        {"eventId": row["event_id"], "holdId": str(row["hold_id"]), "state": row["state"], "receipt": receipt}
    )


async def list_held_events(request: web.Request) -> web.Response:
    """GET /internal/events?state=held."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "events", "admin")
    if request.query.get("state") != "held":
        raise InvalidRequest.field("state", "Must be held.")
    age_seconds = read_whole(request, "olderThanSeconds", default=0, least=0, most=_MAX_AGE_SECONDS)
    limit = read_limit(request)
    scope = ["held-events"]
    cursor = request.query.get("cursor")
    held_at, hold_id = metering.cursors.open(cursor, scope) if cursor is not None else _FIRST
    after = (datetime.fromisoformat(held_at), UUID(hold_id))
    held_before = metering.clock() - timedelta(seconds=age_seconds)
    rows = await metering.holds.list_held(held_before, after, limit)
    last = rows[-1] if len(rows) == limit else None
    next_cursor = None
    if last is not None:
        next_cursor = metering.cursors.seal([last["held_at"].isoformat(), str(last["hold_id"])], scope)
    return answer({"events": [_render_held(row) for row in rows], "nextCursor": next_cursor})


async def _read_events(
    request: web.Request,
) -> tuple[list[BillableEvent], list[tuple[Any, str] | None]]:
    """Answer the good events, and per event of the request None or (the event, what is wrong with it)."""
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


def _invalid_answer(document: Any, message: str, verdict: str) -> dict[str, Any]:
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


def _render_held(row: Any) -> dict[str, Any]:
    event = {
        "holdId": str(row["hold_id"]),
        "eventId": row["event_id"],
        "clientId": row["client_id"],
        "eventType": row["event_type"],
        "units": row["units"],
        "heldAt": row["held_at"],
    }
    return event if row["user_id"] is None else event | {"userId": row["user_id"]}


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
_EVENTS = refuse_callers("events")
_EITHER = refuse_callers("events", "admin")
_WRONG_EVENTS = refuse_field("events", "Shorter than minimum length 1.")

ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/events/authorize",
        authorize_events,
        summary="Decide about events, and hold what is granted",
        description="Each event for itself; one that is not as it should be gets the decision `invalid`. "
        "The same hold again, or a further attempt at a held or settled event, is granted and takes nothing more. "
        "Denials are not remembered. Scope `events`.",
        tag="events",
        body=EventsRequest,
        body_examples={"One event": {"events": [_EVENT_EXAMPLE]}},
        answers={
            200: Answer(
                "Decisions, in the order of the events.",
                DecisionsResponse,
                {"decisions": [{**_IDS, "decision": "granted", "receipt": _RECEIPT}]},
            )
        },
        refusals=[_WRONG_EVENTS, *_EVENTS],
    ),
    Endpoint(
        "POST",
        "/internal/events/settle",
        settle_events,
        summary="Charge facts, each once for ever",
        description="Repeats are harmless. A fact whose hold is unknown or released is charged all the same, late. "
        "Scope `events`.",
        tag="events",
        body=EventsRequest,
        body_examples={"One event": {"events": [_EVENT_EXAMPLE]}},
        answers={
            200: Answer(
                "Results, in the order of the events.",
                SettlementsResponse,
                {"results": [{**_IDS, "state": "settled", "credits": 1, "late": False}]},
            )
        },
        refusals=[_WRONG_EVENTS, *_EVENTS],
    ),
    Endpoint(
        "POST",
        "/internal/events/release",
        release_holds,
        summary="Give back holds of facts that did not happen",
        description="A settled one stays settled; an unknown one is remembered as released. Scope `events`.",
        tag="events",
        body=ReleaseRequest,
        body_examples={"One hold": {"holdIds": [_HOLD_ID]}},
        answers={
            200: Answer(
                "Results, in the order of the holds.",
                ReleasesResponse,
                {"results": [{"holdId": _HOLD_ID, "state": "released"}]},
            )
        },
        refusals=[refuse_field("holdIds.0", "Not a valid UUID."), *_EVENTS],
    ),
    Endpoint(
        "GET",
        "/internal/events/{eventId}",
        get_event,
        summary="Where an event stands, with its receipt",
        description="Scope `events` or `admin`.",
        tag="events",
        parameters=(identifier("eventId", "The fact's id."),),
        answers={
            200: Answer(
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
        refusals=[refuse_field("eventId", WRONG_IDENTIFIER), refuse_unknown("Event not found"), *_EITHER],
    ),
    Endpoint(
        "GET",
        "/internal/events",
        list_held_events,
        summary="What the calling service has not resolved",
        description="A hold never ends by itself: its caller looks it up, and settles or releases it. Scope "
        "`events` or `admin`.",
        tag="events",
        parameters=(
            {**query("state", "Must be held.", {"type": "string", "enum": ["held"]}), "required": True},
            query(
                "olderThanSeconds",
                "Held at least this long.",
                {"type": "integer", "minimum": 0, "maximum": _MAX_AGE_SECONDS},
            ),
            *PAGE_PARAMETERS,
        ),
        answers={
            200: Answer(
                "Held events, oldest first.",
                HeldEventsResponse,
                {"events": [{**_EVENT_EXAMPLE, "units": 1, "heldAt": _HELD_AT}], "nextCursor": None},
            )
        },
        refusals=[refuse_field("state", "Must be held."), *_EITHER],
    ),
)
