"""The calls about plan plays: read the request, call one use case, write the answer."""

import re
from uuid import UUID

from aiohttp import web

from activity_service.api.auth import authenticate
from activity_service.api.list_query import read_list_query
from activity_service.api.list_stream import send_list
from activity_service.api.responses import json_response, render_page, render_plan_play
from activity_service.api.schemas import NewPlanPlaySchema, PlanPlayChangesSchema, drop_absent
from activity_service.errors import PlanPlayNotFound
from activity_service.plays.admission import Admission
from activity_service.plays.create import CreatePlanPlay
from activity_service.plays.idempotency import HEADER, identify
from activity_service.plays.list_plays import ListPlanPlays
from activity_service.plays.plan_play import NewPlanPlay, PlanPlayChanges
from activity_service.plays.read import ReadPlanPlay
from activity_service.plays.update import UpdatePlanPlay
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.schema.load import compile_load

ADMISSION = web.AppKey("admission", Admission)
CREATE_PLAN_PLAY = web.AppKey("create_plan_play", CreatePlanPlay)
READ_PLAN_PLAY = web.AppKey("read_plan_play", ReadPlanPlay)
UPDATE_PLAN_PLAY = web.AppKey("update_plan_play", UpdatePlanPlay)
LIST_PLAN_PLAYS = web.AppKey("list_plan_plays", ListPlanPlays)

_load_new_plan_play = compile_load(NewPlanPlaySchema())
_CHANGES = PlanPlayChangesSchema()
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


async def create_plan_play(request: web.Request) -> web.Response:
    """POST /api/plan-plays."""
    request.app[ADMISSION].require_room()  # before the token and the body: a refusal must cost next to nothing
    caller = await authenticate(request)
    key = _read_idempotency_key(request)
    body = drop_absent(await read_body(request, _load_new_plan_play))
    identity = identify(caller, key, body) if key is not None else None
    answer = await request.app[CREATE_PLAN_PLAY](caller, NewPlanPlay(**body), identity)
    response = json_response(answer.body, answer.status)
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def list_plan_plays(request: web.Request) -> web.StreamResponse:
    """GET /api/plan-plays."""
    caller = await authenticate(request)
    asked = read_list_query(request.query)
    wanted = caller.narrow(
        client_id=asked.client_id, user_id=asked.user_id, status=asked.status, plan_id=asked.plan_id
    )
    lists = request.app[LIST_PLAN_PLAYS]
    if asked.limit is None:
        return await send_list(request, lists, wanted)
    page = await lists.fetch_page(caller, wanted, asked.limit, asked.cursor)
    return json_response(render_page(page.plays, page.next_cursor))


async def read_plan_play(request: web.Request) -> web.Response:
    """GET /api/plan-plays/{id}."""
    caller = await authenticate(request)
    play = await request.app[READ_PLAN_PLAY](caller, _read_play_id(request))
    return json_response(render_plan_play(play))


async def update_plan_play(request: web.Request) -> web.Response:
    """PATCH /api/plan-plays/{id}."""
    caller = await authenticate(request)
    play_id = _read_play_id(request)
    changes = PlanPlayChanges(**drop_absent(await read_body(request, _CHANGES)))
    play = await request.app[UPDATE_PLAN_PLAY](caller, play_id, changes)
    return json_response(render_plan_play(play))


def _read_play_id(request: web.Request) -> UUID:
    """Answer the id in the path. Raises PlanPlayNotFound for anything that no play can have."""
    text = request.match_info["id"]
    if not _UUID.fullmatch(text):
        raise PlanPlayNotFound
    return UUID(text)


def _read_idempotency_key(request: web.Request) -> str | None:
    """Answer the key, or None without one. Raises InvalidRequest naming the header."""
    values = request.headers.getall(HEADER, [])
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest.field(HEADER, "Must be given once.")
    if not _VISIBLE_ASCII.fullmatch(values[0]):
        raise InvalidRequest.field(HEADER, "Must be 1 to 255 visible ASCII characters.")
    return values[0]
