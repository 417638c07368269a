"""Authorize, settle, release, and look-ups of events.

Long because what is published about five calls, half of it examples, stands beside their handlers.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from marshmallow import ValidationError

from metering_service.api.auth import KEY, authenticate, for_keys
from metering_service.api.event_schemas import (
    BillableEventSchema,
    DecisionsSchema,
    EventsFrameSchema,
    EventsSchema,
    EventStateSchema,
    FrameSchema,
    HeldEventsSchema,
    HoldSchema,
    HoldsSchema,
    ReleasesSchema,
    SettledEventSchema,
    SettledEventsSchema,
    SettlementsSchema,
)
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    describe_identifier,
    describe_missing,
    describe_refused_keys,
    describe_wrong_field,
    read_identifier,
    read_page,
    respond,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.errors import EventNotFound
from metering_service.events.decision import Decision, EventState
from metering_service.events.event import (
    SENTENCES,
    BillableEvent,
    HeldEvent,
    Release,
    ReleasedEvent,
    SettledEvent,
    Settlement,
)
from metering_service.events.read import FIRST_HELD, fetch_event, list_held
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS, WRONG_IDENTIFIER
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_moment, read_query
from service_chassis.http.request_context import name_requests_in_log
from service_chassis.openapi.endpoint import Endpoint, Success, header, query
from service_chassis.schema.load import compile_load

Event = TypeVar("Event", BillableEvent, SettledEvent, ReleasedEvent)

TIME_LEFT = "X-Time-Left-Ms"
MAX_TIME_LEFT_MILLISECONDS = 600_000

_load_events_frame = compile_load(EventsFrameSchema())
_load_frame = compile_load(FrameSchema())
_load_event = compile_load(BillableEventSchema())
_load_settled = compile_load(SettledEventSchema())
_load_hold = compile_load(HoldSchema())

_CLIENT = {
    **query(
        "clientId", "Whose event it is.", {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER_CHARACTERS}
    ),
    "required": True,
}
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
    key = authenticate(request, "events")
    name_requests_in_log(request)
    until = _read_until(request)
    frame = await read_body(request, _load_events_frame)
    resolve_within = frame["resolve_within_seconds"]
    events, faults = _read_events(frame["events"], _load_event, BillableEvent, one_event_a_hold=True)
    for event in events:
        event.resolve_within_seconds = resolve_within
    authorizations = request.app[COMPONENTS].authorizations
    is_dry = frame["dry_run"]
    if is_dry:
        decisions = await authorizations.try_out(events, service=key.name)
    else:
        decisions = await authorizations.authorize(events, service=key.name, until=until)
    rendered = (_render_decision(*each, is_dry) for each in zip(events, decisions, strict=True))
    return respond({"decisions": _merge(rendered, faults, "decision")})


async def settle_events(request: web.Request) -> web.Response:
    """POST /internal/events/settle."""
    key = authenticate(request, "events")
    name_requests_in_log(request)
    frame = await read_body(request, _load_frame)
    events, faults = _read_events(frame["events"], _load_whole_or_ids, SettledEvent)
    settlements = await request.app[COMPONENTS].settlements.settle(events, service=key.name)
    rendered = (_render_settlement(*each) for each in zip(events, settlements, strict=True))
    return respond({"results": _merge(rendered, faults, "state")})


async def release_holds(request: web.Request) -> web.Response:
    """POST /internal/events/release."""
    key = authenticate(request, "events")
    name_requests_in_log(request)
    frame = await read_body(request, _load_frame)
    events, faults = _read_events(frame["events"], _load_hold, ReleasedEvent)
    _require_distinct(events)
    releases = await request.app[COMPONENTS].releases.release(events, service=key.name)
    rendered = (_render_release(*each) for each in zip(events, releases, strict=True))
    return respond({"results": _merge(rendered, faults, "state")})


@for_keys("events", "admin")
async def get_event(request: web.Request) -> web.Response:
    """GET /internal/events/{eventId}."""
    event_id = read_identifier(request, "eventId")
    client_id = read_query(request, (_CLIENT,))["clientId"]
    return respond(_render_state(await fetch_event(request.app[COMPONENTS].pool, client_id, event_id)))


@for_keys("events", "admin")
async def list_held_events(request: web.Request) -> web.Response:
    """GET /internal/events?state=held."""
    wanted = read_query(request, _HELD_PARAMETERS)
    limit, (held_at, hold_id) = read_page(wanted, FIRST_HELD, read_moment, UUID)
    service = request[KEY].name if request[KEY].scope == "events" else None
    page = await list_held(
        request.app[COMPONENTS].pool, service, wanted["olderThanSeconds"] or 0, (held_at, hold_id), limit
    )
    return respond_page("events", page, _render_held, lambda last: (last.held_at, last.hold_id))


def _read_until(request: web.Request) -> float:
    """Return until when the caller waits, by the monotonic clock. Raises InvalidRequest naming the header."""
    text = request.headers.get(TIME_LEFT)
    if text is None:
        milliseconds = MAX_TIME_LEFT_MILLISECONDS
    elif len(text) > 9 or not text.isascii() or not text.isdigit():
        raise InvalidRequest.field(TIME_LEFT, "Must be a number of milliseconds.")
    else:
        milliseconds = min(int(text), MAX_TIME_LEFT_MILLISECONDS)
    return time.monotonic() + milliseconds / 1000


def _read_events(
    documents: Sequence[Any],
    load: Callable[[Any], Mapping[str, Any]],
    kind: type[Event],
    *,
    one_event_a_hold: bool = False,
) -> tuple[list[Event], list[tuple[Any, str] | None]]:
    """Return the good events, and per document of the request None or (the document, what is wrong with it).

    With `one_event_a_hold` a hold that is named for another event in the same call is refused here, and costs the
    database nothing. Not so of facts: each is charged, whatever its caller mixed up.
    """
    events: list[Event] = []
    faults: list[tuple[Any, str] | None] = []
    event_of: dict[tuple[str, str], str] = {}
    for document in documents:
        try:
            event = kind(**load(document))
        except ValidationError as error:
            faults.append((document, _explain(error)))
            continue
        event.hold_id = event.hold_id.lower()
        hold = event.client_id, event.hold_id
        if one_event_a_hold and event_of.setdefault(hold, event.event_id) != event.event_id:
            faults.append((document, "holdId: Is named for another event, too."))
            continue
        events.append(event)
        faults.append(None)
    return events, faults


def _load_whole_or_ids(document: Any) -> Mapping[str, Any]:
    """Load a fact to be charged. Raises ValidationError for one that is told by halves."""
    loaded = _load_settled(document)
    if loaded["event_type"] is not None:
        if loaded["happened_at"] is None:
            raise ValidationError({"happenedAt": "Must be there with eventType."})
        if loaded["units"] is None:
            loaded["units"] = 1
    elif loaded["happened_at"] is not None or loaded["user_id"] is not None:
        raise ValidationError({"eventType": "Must be there with userId and happenedAt."})
    return loaded


def _require_distinct(events: Sequence[ReleasedEvent]) -> None:
    seen: set[tuple[str, str]] = set()
    for number, event in enumerate(events):
        if (event.client_id, event.hold_id) in seen:
            raise InvalidRequest.field(f"events.{number}.holdId", "Must not be named twice.")
        seen.add((event.client_id, event.hold_id))


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


def _merge(
    rendered: Iterator[dict[str, Any]], faults: Sequence[tuple[Any, str] | None], verdict: str
) -> list[dict[str, Any]]:
    """Return what is said of each event of the request, in order."""
    return [next(rendered) if fault is None else _render_invalid(*fault, verdict) for fault in faults]


def _render_invalid(document: Any, message: str, verdict: str) -> dict[str, Any]:
    ids = document if isinstance(document, dict) else {}
    return {
        "holdId": ids.get("holdId") if isinstance(ids.get("holdId"), str) else None,
        "eventId": ids.get("eventId") if isinstance(ids.get("eventId"), str) else None,
        verdict: "invalid",
        "code": "invalid_event",
        "message": message,
    }


def _render_decision(event: BillableEvent, decision: Decision, is_dry: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "holdId": decision.hold_id,
        "eventId": event.event_id,
        "decision": decision.decision,
    }
    if decision.decision == "granted" and not is_dry:
        document["state"] = "settled" if decision.held_at is None else "held"
        if decision.held_at is not None:
            document["heldAt"] = decision.held_at
    elif decision.code is not None:
        document["code"] = decision.code
        document["message"] = SENTENCES[decision.code]
        if decision.decision == "denied":
            document["retryAfterSeconds"] = decision.retry_after_seconds
    if decision.receipt is not None:
        document["receipt"] = decision.receipt.as_document()
        limits = decision.list_limits()
        if limits:
            document["limits"] = limits
    return document


def _render_settlement(event: SettledEvent, settlement: Settlement) -> dict[str, Any]:
    document: dict[str, Any] = {
        "holdId": settlement.hold_id,
        "eventId": event.event_id,
        "state": settlement.state,
    }
    if settlement.state == "settled":
        document |= {"credits": settlement.credits, "late": settlement.late}
    elif settlement.code is not None:
        document |= {"code": settlement.code, "message": SENTENCES[settlement.code]}
    return document


def _render_release(event: ReleasedEvent, release: Release) -> dict[str, Any]:
    document: dict[str, Any] = {"holdId": event.hold_id, "state": release.state}
    if release.code is not None:
        document |= {"code": release.code, "message": SENTENCES[release.code]}
    return document


def _render_state(state: EventState) -> dict[str, Any]:
    payers = [{"kind": kind, "grantId": grant_id, "credits": credits} for kind, grant_id, credits in state.payers]
    receipt = {
        **({**state.receipt.as_document(), "grants": payers} if state.receipt else {}),
        "heldAt": state.held_at,
        "settledAt": state.closed_at if state.state == "settled" else None,
        "releasedAt": state.closed_at if state.state == "released" else None,
        "late": state.receipt is not None and state.receipt.is_late,
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
_HOLD_EXAMPLE = {"clientId": "demo", **_IDS}
_RECEIPT = {
    "policyId": "starter",
    "policyVersion": 2,
    "mode": "enforce",
    "wouldRefuse": None,
    "degraded": False,
    "credits": 1,
    "gates": {
        "rates": [{"name": "per minute", "limit": 100, "usedBefore": 3}],
        "quotas": [{"name": "monthly plays", "limit": 10_000, "usedBefore": 12, "amount": 1, "overage": 0}],
        "credits": {"availableBefore": 998},
    },
}
_LIMITS = [
    {"name": "per minute", "limit": 100, "remaining": 96, "resetSeconds": 4},
    {"name": "monthly plays", "limit": 10_000, "remaining": 9_987, "resetSeconds": 2_646_000},
]
_HELD_AT = "2026-07-01T09:00:00.120000Z"
_EVENTS = describe_refused_keys("events")
_EITHER = describe_refused_keys("events", "admin")
_WRONG_EVENTS = describe_wrong_field("events", "Must have 1 to 500 elements.")

ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/events/authorize",
        authorize_events,
        summary="Authorize events",
        description="Decides about events, and holds what is granted. Each event for itself; one that is not as it "
        "should be gets the decision `invalid`, one that cannot be decided now `error`. The same hold again, or a "
        "further attempt at a held or charged event, is granted with the hold that stands for it, and takes nothing "
        "more; its `state` says which. Denials are not remembered. A quota or credits that live holds alone use up "
        "come back, at the latest, after `retryAfterSeconds`. Holds belong to the name of the key. Scope `events`.",
        parameters=(
            header(
                TIME_LEFT,
                "How long the caller still waits, in milliseconds: nothing is decided that nobody waits for.",
                {"type": "integer", "minimum": 0, "maximum": MAX_TIME_LEFT_MILLISECONDS},
            ),
        ),
        tag="events",
        body=EventsSchema,
        body_examples={"One event": {"events": [_EVENT_EXAMPLE]}},
        responses={
            200: Success(
                "Decisions, in the order of the events.",
                DecisionsSchema,
                {
                    "decisions": [
                        {
                            **_IDS,
                            "decision": "granted",
                            "state": "held",
                            "heldAt": _HELD_AT,
                            "receipt": _RECEIPT,
                            "limits": _LIMITS,
                        }
                    ]
                },
            )
        },
        failures=[_WRONG_EVENTS, *_EVENTS],
    ),
    Endpoint(
        "POST",
        "/internal/events/settle",
        settle_events,
        summary="Settle events",
        description="Charges facts, each once for ever, by their ids. Repeats are harmless. `units` is how many it "
        "was, which need not be as many as were held. Of one that is neither held nor charged the state is "
        "`unknown`: told whole, with `eventType` and `happenedAt`, it is charged all the same, late. Scope `events`.",
        tag="events",
        body=SettledEventsSchema,
        body_examples={
            "By its ids": {"events": [_HOLD_EXAMPLE]},
            "Whole": {"events": [{**_EVENT_EXAMPLE, "units": 1, "happenedAt": _HELD_AT}]},
        },
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
        "remembered as released, so that a late authorize of it is a conflict. Scope `events`.",
        tag="events",
        body=HoldsSchema,
        body_examples={"One hold": {"events": [_HOLD_EXAMPLE]}},
        responses={
            200: Success(
                "Results, in the order of the holds.",
                ReleasesSchema,
                {"results": [{"holdId": _HOLD_ID, "state": "released"}]},
            )
        },
        failures=[describe_wrong_field("events.1.holdId", "Must not be named twice."), *_EVENTS],
    ),
)

READ_ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/events/{eventId}",
        get_event,
        summary="Get an event",
        description="Where it stands, with its receipt. Scope `events` or `admin`.",
        tag="events",
        parameters=(describe_identifier("eventId", "The fact's id."), _CLIENT),
        responses={
            200: Success(
                "The event.",
                EventStateSchema,
                {
                    **_IDS,
                    "state": "settled",
                    "receipt": {
                        **_RECEIPT,
                        "grants": [{"kind": "grant", "grantId": "order-1001", "credits": 1}],
                        "heldAt": _HELD_AT,
                        "settledAt": "2026-07-01T09:00:00.250000Z",
                        "releasedAt": None,
                        "late": False,
                    },
                },
            )
        },
        failures=[
            describe_wrong_field("eventId", WRONG_IDENTIFIER),
            describe_missing(EventNotFound(_EVENT_ID)),
            *_EITHER,
        ],
    ),
    Endpoint(
        "GET",
        "/internal/events",
        list_held_events,
        summary="List held events",
        description="What the calling service, by its key's name, has not resolved; with scope `admin`, what any has "
        "not. A hold never ends by itself: its caller looks it up, and settles or releases it. Scope `events` or "
        "`admin`.",
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
