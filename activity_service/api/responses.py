"""How answers are written: plan plays, lists of them, and errors."""

from collections.abc import Sequence

from aiohttp import web

from activity_service.api.schemas import PlanPlaySchema
from activity_service.errors import EventRefused
from activity_service.plays.plan_play import PlanPlay
from service_chassis.errors import ServiceError
from service_chassis.http.json_response import JsonAnswer
from service_chassis.schema.dump import compile_dump, encode_json

_dump = compile_dump(PlanPlaySchema())


def render_plan_play(play: PlanPlay) -> bytes:
    """Write the answer about one play."""
    return encode_json({"data": _dump(play)})


def render_page(plays: Sequence[PlanPlay], next_cursor: str | None) -> bytes:
    """Write a page of a list."""
    return encode_json({"data": [_dump(play) for play in plays], "count": len(plays), "nextCursor": next_cursor})


def render_list(plays: Sequence[PlanPlay]) -> bytes:
    """Write a whole list."""
    return encode_json({"data": [_dump(play) for play in plays], "count": len(plays)})


def render_elements(plays: Sequence[PlanPlay]) -> bytes:
    """Write plays as they stand between the brackets of a list."""
    return encode_json([_dump(play) for play in plays])[1:-1]


def json_response(body: bytes, status: int = 200) -> web.Response:
    """Make an answer of JSON bytes."""
    return JsonAnswer(body, status)


def render_error(error: ServiceError) -> web.Response:
    """Write an error: a sentence, with details for a 400, and what to do for a 429."""
    document: dict[str, object] = {"error": error.message}
    if error.status == 400:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    if isinstance(error, EventRefused):
        document |= {"code": error.code, "retryAfterSeconds": error.retry_after_seconds}
    return json_response(encode_json(document), error.status)
