"""Plan plays: created, listed, read and changed by the client or user that is calling.

Long because what is published about four calls, half of it examples, stands beside their handlers.
"""

import re
from typing import Any
from uuid import UUID

from aiohttp import web

from activity_service.api.auth import authenticate
from activity_service.api.plan_play_schemas import (
    NewPlanPlaySchema,
    OnePlanPlaySchema,
    PlanPlayChangesSchema,
    PlanPlayListSchema,
    drop_absent,
    read_ahead,
    respond_created,
    respond_list,
    respond_play,
    send_list,
)
from activity_service.components import COMPONENTS
from activity_service.errors import Overloaded, PlanPlayNotFound
from activity_service.plays.idempotency import HEADER, identify
from activity_service.plays.plan_play import STATUSES, Position
from activity_service.plays.read import fetch_play, list_page, stream_plays
from metering_client.errors import EventRefused
from metering_client.limits import RATE_LIMIT, RATE_LIMIT_POLICY, Limit, as_headers
from service_chassis.errors import Forbidden, InvalidRequest, ServiceError, Unauthorized
from service_chassis.http.cursor import decode_cursor, encode_cursor
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_moment, read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success, header, path, query
from service_chassis.schema.fields import REQUIRED
from service_chassis.schema.load import compile_load

MAX_LIMIT = 1000
_LIST_PARAMETERS = (
    query("clientId", "Another client, for clients that may read all."),
    query("userId", "Plays of this user."),
    query("status", f"Plays in this status: {', '.join(STATUSES)}. One that does not exist matches nothing."),
    query("planId", "Plays of this plan."),
    query("limit", "Most plays of a page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    query("cursor", "The `nextCursor` of the page before, with `limit`."),
)
_PLAY_ID = path("id", "Id of the plan play.", {"type": "string", "format": "uuid"})

_load_new_plan_play = compile_load(NewPlanPlaySchema())
_CHANGES = PlanPlayChangesSchema()
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


async def create_plan_play(request: web.Request) -> web.Response:
    """POST /api/plan-plays."""
    components = request.app[COMPONENTS]
    caller = await authenticate(request)
    components.admission.require_room(caller.client_id)  # before the body: a refusal must cost next to nothing
    key = _read_idempotency_key(request)
    body = drop_absent(await read_body(request, _load_new_plan_play))
    identity = identify(caller, key, body) if key is not None else None
    async with components.admission.take_place(caller.client_id):
        return respond_created(await components.create_plays.create(caller, body, identity))


async def list_plan_plays(request: web.Request) -> web.StreamResponse:
    """GET /api/plan-plays."""
    caller = await authenticate(request)
    asked = read_query(request, _LIST_PARAMETERS)
    limit, cursor = asked["limit"], asked["cursor"]
    wanted = caller.narrow(
        client_id=asked["clientId"], user_id=asked["userId"], status=asked["status"], plan_id=asked["planId"]
    )
    components = request.app[COMPONENTS]
    if limit is None:
        if cursor is not None:
            raise InvalidRequest.field("cursor", "Must come with a limit.")
        plays = stream_plays(components.pool, wanted)
        async with components.admission.take_place(caller.client_id):
            begun = await read_ahead(plays)
        return await send_list(request, begun, plays)  # no place: a slow reader must hold none
    after = Position(*decode_cursor(cursor, read_moment, _parse_play_id)) if cursor is not None else None
    async with components.admission.take_place(caller.client_id):
        page, last = await list_page(components.pool, wanted, limit, after)
    return respond_list(page, nextCursor=encode_cursor(last.created_at, last.id) if last is not None else None)


async def read_plan_play(request: web.Request) -> web.Response:
    """GET /api/plan-plays/{id}."""
    caller = await authenticate(request)
    play_id = _read_play_id(request)
    components = request.app[COMPONENTS]
    async with components.admission.take_place(caller.client_id):
        return respond_play(await fetch_play(components.pool, caller, play_id))


async def update_plan_play(request: web.Request) -> web.Response:
    """PATCH /api/plan-plays/{id}."""
    caller = await authenticate(request)
    play_id = _read_play_id(request)
    changes = await read_body(request, _CHANGES)
    components = request.app[COMPONENTS]
    async with components.admission.take_place(caller.client_id):
        play, limits = await components.update_plays.update(caller, play_id, changes)
        return respond_play(play, limits)


def _read_play_id(request: web.Request) -> str:
    """Return the id in the path. Raises PlanPlayNotFound for anything that no play can have."""
    text: str = request.match_info["id"]
    if not _UUID.fullmatch(text):
        raise PlanPlayNotFound
    return text.lower()


def _parse_play_id(value: Any) -> str:
    return str(UUID(value))


def _read_idempotency_key(request: web.Request) -> str | None:
    """Return the key, or None without one. Raises InvalidRequest naming the header."""
    values = request.headers.getall(HEADER, [])
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest.field(HEADER, "Must be given once.")
    if not _VISIBLE_ASCII.fullmatch(values[0]):
        raise InvalidRequest.field(HEADER, "Must be 1 to 255 visible ASCII characters.")
    return values[0]


_PLAY = {
    "id": "0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11",
    "planId": "plan-abc-123",
    "clientId": "demo",
    "userId": "user-1",
    "status": "active",
    "plannedLessons": ["lesson-1", "lesson-2"],
    "currentLessonIndex": 0,
    "completedLessons": [],
    "completedLessonPlays": [],
    "totalLessonsCompleted": 0,
    "email": None,
    "displayName": None,
    "photoURL": None,
    "assignmentSource": None,
    "riskLevel": None,
    "createdAt": "2026-07-01T09:00:00.000001Z",
    "updatedAt": "2026-07-01T09:00:00.000001Z",
    "lastPlayedAt": None,
    "completedAt": None,
}

_UNAUTHORIZED = Failure("No access token, or one that is not valid.", Unauthorized())
_DENIED = Failure("The token lacks the scope `plan_plays`.", Forbidden())
_NOT_YOURS = Failure("Another client's play, another user's, or a token without the scope `plan_plays`.", Forbidden())
_NOT_FOUND = Failure("No such plan play.", PlanPlayNotFound())
_INVALID_BODY = Failure(
    "Something in the request cannot be accepted.",
    InvalidRequest.field("planId", REQUIRED),
    InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
    InvalidRequest.field(HEADER, "Was used before with another body."),
)
_INVALID_CHANGE = Failure(
    "Something in the request cannot be accepted.",
    InvalidRequest.field("planId", "Unknown field, or one that cannot be changed."),
    InvalidRequest.field("body", "Must change at least one field."),
)
_INVALID_QUERY = Failure(
    "A parameter cannot be used.",
    InvalidRequest.field("limit", f"Must be an integer from 1 to {MAX_LIMIT}."),
    InvalidRequest.field("cursor", "Must be a cursor that this same list gave."),
)
_REFUSED = Failure(
    "The client's policy refuses it; nothing was done. `Retry-After` is sent exactly when `retryAfterSeconds` is "
    "not null.",
    EventRefused("api_rate_limited", 30, limit_headers=as_headers([Limit("per minute", 100, 0, 60)])),
    EventRefused("api_quota_exceeded", 3600),
    EventRefused("api_balance_exhausted", None),
)
_LIMIT_HEADERS = {
    RATE_LIMIT: "After a billable event: what is left of each limit of the client, and in how many seconds all of it "
    "will be, as draft-ietf-httpapi-ratelimit-headers says. Not sent while rates cannot be checked.",
    RATE_LIMIT_POLICY: "Sent with it: each limit by its name.",
}
_FAULT = Failure(
    "It could not be done, or its outcome is unknown; a retry is safe with the same Idempotency-Key.",
    ServiceError(),
)
_OVERLOADED = Failure(
    "As many requests are under way as the process takes on, of all or of this client, or metering is slower than "
    "the request can wait; nothing was done.",
    Overloaded(),
)

ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/plan-plays",
        create_plan_play,
        summary="Create a plan play",
        description="Billable event `plan_play.created`. With an Idempotency-Key, the same key and body get the "
        "first response again, byte for byte, and nothing is created or billed.",
        tag="Plan plays",
        parameters=[
            header(
                HEADER,
                "1 to 255 visible ASCII characters, of this client and user.",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            )
        ],
        body=NewPlanPlaySchema,
        body_examples={
            "A user's play": {name: _PLAY[name] for name in ("planId", "userId", "plannedLessons")},
            "The least": {"planId": "plan-abc-123"},
        },
        responses={
            201: Success(
                "The new play.",
                OnePlanPlaySchema,
                {"data": _PLAY},
                {
                    "Idempotency-Replayed": {
                        "description": "Sent when the key was used before: this is the first response again.",
                        "schema": {"type": "string", "const": "true"},
                    },
                    **_LIMIT_HEADERS,
                },
            )
        },
        failures=[_INVALID_BODY, _UNAUTHORIZED, _DENIED, _REFUSED, _FAULT, _OVERLOADED],
    ),
    Endpoint(
        "GET",
        "/api/plan-plays",
        list_plan_plays,
        summary="List plan plays",
        description="Newest first. Without `limit` everything is streamed. A user token lists its own user's plays "
        "only. `clientId` is ignored unless the client may read other clients' plays.",
        tag="Plan plays",
        parameters=_LIST_PARAMETERS,
        responses={200: Success("The plays.", PlanPlayListSchema, {"data": [_PLAY], "count": 1, "nextCursor": None})},
        failures=[_INVALID_QUERY, _UNAUTHORIZED, _DENIED, _OVERLOADED],
    ),
    Endpoint(
        "GET",
        "/api/plan-plays/{id}",
        read_plan_play,
        summary="Get one plan play",
        description="With a user token, one of this user's.",
        tag="Plan plays",
        parameters=[_PLAY_ID],
        responses={200: Success("The play.", OnePlanPlaySchema, {"data": _PLAY})},
        failures=[_UNAUTHORIZED, _NOT_YOURS, _NOT_FOUND, _OVERLOADED],
    ),
    Endpoint(
        "PATCH",
        "/api/plan-plays/{id}",
        update_plan_play,
        summary="Change a plan play",
        description="The first change to `ended` in a play's life is billable event `plan_play.completed`; refused, "
        "it leaves the play as it was. Ending again is never billed.",
        tag="Plan plays",
        parameters=[_PLAY_ID],
        body=PlanPlayChangesSchema,
        body_examples={
            "Complete": {"status": "ended", "totalLessonsCompleted": 2},
            "Go on": {"currentLessonIndex": 1, "completedLessons": ["lesson-1"]},
        },
        responses={
            200: Success(
                "The play as it now is.",
                OnePlanPlaySchema,
                {
                    "data": {
                        **_PLAY,
                        "status": "ended",
                        "totalLessonsCompleted": 2,
                        "completedAt": "2026-07-02T10:00:00Z",
                    }
                },
                _LIMIT_HEADERS,
            )
        },
        failures=[_INVALID_CHANGE, _UNAUTHORIZED, _NOT_YOURS, _NOT_FOUND, _REFUSED, _FAULT, _OVERLOADED],
    ),
)
