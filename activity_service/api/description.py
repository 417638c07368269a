"""The table of calls, with what is published about each."""

from collections.abc import Mapping
from typing import Any

from activity_service.api import plan_plays as routes
from activity_service.api.list_query import MAX_LIMIT
from activity_service.api.responses import render_error
from activity_service.api.schemas import (
    ErrorSchema,
    InvalidRequestSchema,
    NewPlanPlaySchema,
    PlanPlayAnswerSchema,
    PlanPlayChangesSchema,
    PlanPlayListSchema,
    RefusalSchema,
)
from activity_service.errors import EventRefused, Overloaded, PlanPlayNotFound
from activity_service.plays.idempotency import HEADER
from activity_service.plays.plan_play import STATUSES
from service_chassis.errors import Forbidden, InvalidRequest, ServiceError, Unauthorized
from service_chassis.openapi.endpoint import STRICT_JSON, Answer, Api, Endpoint, Refusal, header, path, query

API = Api(
    title="Activity",
    version="1.0.0",
    description=(
        f"Plan plays, each creation and each completion billed exactly once.\n\n{STRICT_JSON} Unknown fields are "
        "refused, unknown query parameters ignored. An unknown path is answered 404, another method 405 with "
        '`Allow`, both as `{"error"}`.'
    ),
    tags={"Plan plays": "A user's way through a plan, from its creation to its completion."},
    bearer={"bearerFormat": "JWT", "description": "An `access_token` of the catalog's generate-client-auth-token."},
    render_error=render_error,
    error_schema=lambda status: {400: InvalidRequestSchema, 429: RefusalSchema}.get(status, ErrorSchema),
    body_limit="64 KiB",
)

_PLAY_ID = path("id", "Id of the plan play.", {"type": "string", "format": "uuid"})

_UNAUTHORIZED = Refusal(
    "No access token, or none that can be believed.", Unauthorized(headers={"WWW-Authenticate": "Bearer"})
)
_DENIED = Refusal("The token lacks the scope `plan_plays`.", Forbidden())
_NOT_YOURS = Refusal("Another client's play, another user's, or a token without the scope `plan_plays`.", Forbidden())
_NOT_FOUND = Refusal("No such plan play.", PlanPlayNotFound())
_INVALID_BODY = Refusal(
    "Something in the request cannot be accepted.",
    InvalidRequest.field("planId", "Missing data for required field."),
    InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
    InvalidRequest.field(HEADER, "Was used before with another body."),
)
_INVALID_CHANGE = Refusal(
    "Something in the request cannot be accepted.",
    InvalidRequest.field("planId", "Unknown field, or one that cannot be changed."),
    InvalidRequest.field("body", "Must change at least one field."),
)
_INVALID_QUERY = Refusal(
    "A parameter cannot be used.",
    InvalidRequest.field("limit", f"Must be an integer from 1 to {MAX_LIMIT}."),
    InvalidRequest.field("cursor", "Must be a nextCursor of this same list."),
)
_REFUSED = Refusal(
    "The client's policy refuses it; nothing was done. `Retry-After` is sent exactly when `retryAfterSeconds` is "
    "not null.",
    EventRefused("api_rate_limited", 30),
    EventRefused("api_quota_exceeded", 3600),
    EventRefused("api_balance_exhausted", None),
)
_FAULT = Refusal(
    "It could not be done or not be known whether it was; a retry is safe with the same Idempotency-Key.",
    ServiceError(),
)
_OVERLOADED = Refusal(
    "As many creates and first completions are under way as the process takes on; nothing was done.", Overloaded()
)


def _example(**fields: Any) -> Mapping[str, Any]:
    play = {
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
    return play | fields


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/plan-plays",
        handler=routes.create_plan_play,
        summary="Create a plan play",
        description=(
            "Billable event `plan_play.created`. With an Idempotency-Key, the same key and body get the first answer "
            "again, byte for byte, and nothing is created or billed."
        ),
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
            "A user's play": {
                "planId": "plan-abc-123",
                "userId": "user-1",
                "plannedLessons": ["lesson-1", "lesson-2"],
            },
            "The least": {"planId": "plan-abc-123"},
        },
        answers={
            201: Answer(
                "The new play.",
                PlanPlayAnswerSchema,
                {"data": _example()},
                {
                    "Idempotency-Replayed": {
                        "description": "Sent when this was answered before.",
                        "schema": {"type": "string", "const": "true"},
                    }
                },
            ),
        },
        refusals=[_INVALID_BODY, _UNAUTHORIZED, _DENIED, _REFUSED, _FAULT, _OVERLOADED],
    ),
    Endpoint(
        method="GET",
        path="/api/plan-plays",
        handler=routes.list_plan_plays,
        summary="List plan plays, newest first",
        description=(
            "Without `limit` everything is streamed. A user token lists its own user's plays only. `clientId` is "
            "ignored unless the client may read other clients' plays."
        ),
        tag="Plan plays",
        parameters=[
            query("clientId", "Another client, for clients that may read all."),
            query("userId", "Plays of this user."),
            query("status", "Plays in this status.", {"type": "string", "enum": list(STATUSES)}),
            query("planId", "Plays of this plan."),
            query("limit", "Most plays of a page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
            query("cursor", "The `nextCursor` of the page before, with `limit`."),
        ],
        answers={
            200: Answer("The plays.", PlanPlayListSchema, {"data": [_example()], "count": 1, "nextCursor": None}),
        },
        refusals=[_INVALID_QUERY, _UNAUTHORIZED, _DENIED],
    ),
    Endpoint(
        method="GET",
        path="/api/plan-plays/{id}",
        handler=routes.read_plan_play,
        summary="Read a plan play",
        description="With a user token, one of this user's.",
        tag="Plan plays",
        parameters=[_PLAY_ID],
        answers={
            200: Answer("The play.", PlanPlayAnswerSchema, {"data": _example()}),
        },
        refusals=[_UNAUTHORIZED, _NOT_YOURS, _NOT_FOUND],
    ),
    Endpoint(
        method="PATCH",
        path="/api/plan-plays/{id}",
        handler=routes.update_plan_play,
        summary="Change a plan play",
        description=(
            "The first change to `ended` in a play's life is billable event `plan_play.completed`; refused, it "
            "leaves the play as it was. Ending again is never billed."
        ),
        tag="Plan plays",
        parameters=[_PLAY_ID],
        body=PlanPlayChangesSchema,
        body_examples={
            "Complete": {"status": "ended", "totalLessonsCompleted": 2},
            "Go on": {"currentLessonIndex": 1, "completedLessons": ["lesson-1"]},
        },
        answers={
            200: Answer(
                "The play as it now is.",
                PlanPlayAnswerSchema,
                {"data": _example(status="ended", totalLessonsCompleted=2, completedAt="2026-07-02T10:00:00Z")},
            ),
        },
        refusals=[_INVALID_CHANGE, _UNAUTHORIZED, _NOT_YOURS, _NOT_FOUND, _REFUSED, _FAULT, _OVERLOADED],
    ),
)
