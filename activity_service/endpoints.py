"""The table of calls, with what is published about each."""

from collections.abc import Mapping
from typing import Any

from activity_service import routes
from activity_service.list_query import MAX_LIMIT
from activity_service.plan_play import STATUSES
from activity_service.schemas import (
    ErrorSchema,
    InvalidRequestSchema,
    NewPlanPlaySchema,
    PlanPlayAnswerSchema,
    PlanPlayChangesSchema,
    PlanPlayListSchema,
    RefusalSchema,
)
from service_chassis.openapi import Answer, Endpoint, header, path, query

_PLAY_ID = path("id", "Id of the plan play.", {"type": "string", "format": "uuid"})

_UNAUTHORIZED = Answer(
    "No access token, or none that can be believed.",
    ErrorSchema,
    {"error": "Unauthorized"},
    {"WWW-Authenticate": "`Bearer`"},
)
_DENIED = Answer("The token does not allow this.", ErrorSchema, {"error": "Access denied"})
_NOT_FOUND = Answer("No such plan play.", ErrorSchema, {"error": "Plan play not found"})
_INVALID = Answer("Something in the request cannot be accepted.", InvalidRequestSchema)
_TOO_LARGE = Answer("The body is too large.", ErrorSchema)
_WRONG_TYPE = Answer("The body is not application/json.", ErrorSchema)
_REFUSED = Answer(
    "The client's policy refuses it; nothing was done.",
    RefusalSchema,
    {"error": "Quota exceeded for this period", "code": "api_quota_exceeded", "retryAfterSeconds": 3600},
    {"Retry-After": "Seconds; sent exactly when `retryAfterSeconds` is not null."},
)
_FAULT = Answer(
    "It could not be done or not be known whether it was; a retry is safe with the same Idempotency-Key.",
    ErrorSchema,
    {"error": "Internal server error"},
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
                "Idempotency-Key",
                "1 to 255 visible ASCII characters, of this client and user.",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            )
        ],
        body=NewPlanPlaySchema,
        body_example={"planId": "plan-abc-123", "userId": "user-1", "plannedLessons": ["lesson-1", "lesson-2"]},
        answers={
            201: Answer(
                "The new play.",
                PlanPlayAnswerSchema,
                {"data": _example()},
                {"Idempotency-Replayed": "`true` when this was answered before."},
            ),
            400: _INVALID,
            401: _UNAUTHORIZED,
            403: _DENIED,
            413: _TOO_LARGE,
            415: _WRONG_TYPE,
            429: _REFUSED,
            500: _FAULT,
        },
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
            200: Answer("The plays.", PlanPlayListSchema, {"data": [_example()], "count": 1}),
            400: _INVALID,
            401: _UNAUTHORIZED,
            403: _DENIED,
            500: _FAULT,
        },
    ),
    Endpoint(
        method="GET",
        path="/api/plan-plays/{id}",
        handler=routes.read_plan_play,
        summary="Read a plan play",
        tag="Plan plays",
        parameters=[_PLAY_ID],
        answers={
            200: Answer("The play.", PlanPlayAnswerSchema, {"data": _example()}),
            401: _UNAUTHORIZED,
            403: _DENIED,
            404: _NOT_FOUND,
            500: _FAULT,
        },
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
        body_example={"status": "ended", "totalLessonsCompleted": 2},
        answers={
            200: Answer(
                "The play as it now is.",
                PlanPlayAnswerSchema,
                {"data": _example(status="ended", totalLessonsCompleted=2, completedAt="2026-07-02T10:00:00Z")},
            ),
            400: _INVALID,
            401: _UNAUTHORIZED,
            403: _DENIED,
            404: _NOT_FOUND,
            413: _TOO_LARGE,
            415: _WRONG_TYPE,
            429: _REFUSED,
            500: _FAULT,
        },
    ),
)
