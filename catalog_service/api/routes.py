"""The calls of this service: read, authorize, do one thing, answer."""

from aiohttp import web

from catalog_service.api.envelope import UNAUTHORIZED
from catalog_service.api.plan_schemas import GetPlanDetailsSchema, GetPlansSchema, SyncPlanSchema, dump_plan
from catalog_service.api.responses import accepts_gzip, succeed, succeed_encoded
from catalog_service.api.token_schemas import TokenRequestSchema
from catalog_service.clients.states import ClientState
from catalog_service.components import (
    CLIENT_STATES,
    CLOCK,
    ENCODED_PLANS,
    FAILED_ATTEMPTS,
    PLAN_LISTS,
    POOL,
    SIGNING_KEYS,
    TOKEN_TERMS,
    VERIFIER,
)
from catalog_service.plans.plan import PlanChange
from catalog_service.plans.sync import change_plan, create_plan, delete_plan, fetch_plan
from catalog_service.tokens.issue import PLANS_SCOPE, issue_token
from catalog_service.tokens.signing_key import JWKS_MAX_AGE
from service_chassis.auth.bearer import InvalidToken, read_bearer
from service_chassis.errors import Forbidden
from service_chassis.http.json_body import read_body
from service_chassis.http.json_response import JsonAnswer
from service_chassis.schema.dump import encode_json
from service_chassis.schema.load import compile_load

_TOKEN_REQUEST = TokenRequestSchema()
_load_get_plans = compile_load(GetPlansSchema())
_GET_PLAN_DETAILS = GetPlanDetailsSchema()
_SYNC_PLAN = SyncPlanSchema()


async def generate_client_auth_token(request: web.Request) -> web.Response:
    """Exchange credentials for an access token."""
    app = request.app
    wanted = await read_body(request, _TOKEN_REQUEST)
    token = await issue_token(
        app[POOL],
        app[SIGNING_KEYS],
        app[TOKEN_TERMS],
        wanted,
        app[CLOCK](),
        failed_attempts=app[FAILED_ATTEMPTS],
        address=request.remote or "",
    )
    lifetime_seconds = int(app[TOKEN_TERMS].lifetime.total_seconds())
    data = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime_seconds}
    return succeed(data, headers={"Cache-Control": "no-store"})


async def get_plans(request: web.Request) -> web.Response:
    """List the client's plans."""
    client_id, state = await _authorize(request)
    wanted = await read_body(request, _load_get_plans, optional=True)
    cache = request.app[ENCODED_PLANS]
    question = client_id, wanted["collection_id"], state.plans_version
    plans = cache.find(*question, accept_gzip=accepts_gzip(request))
    request.app[PLAN_LISTS]["encoded" if plans is None else "kept"].inc()
    if plans is None:
        plans = await cache.encode(*question, accept_gzip=accepts_gzip(request))
    return succeed_encoded(plans)


async def get_plan_details(request: web.Request) -> web.Response:
    """Show one plan of the client."""
    client_id, _ = await _authorize(request)
    wanted = await read_body(request, _GET_PLAN_DETAILS)
    return succeed(dump_plan(await fetch_plan(request.app[POOL], client_id, wanted["plan_id"])))


async def sync_plan(request: web.Request) -> web.Response:
    """Create, change or delete a plan of the client."""
    client_id, _ = await _authorize(request)
    fields = await read_body(request, _SYNC_PLAN)
    pool, now = request.app[POOL], request.app[CLOCK]()
    is_delete, plan_id = fields.pop("is_delete"), fields.pop("plan_id", None)
    if is_delete:
        await delete_plan(pool, client_id, plan_id)
        return succeed({"plan_id": plan_id})
    if plan_id is None:
        return succeed(dump_plan(await create_plan(pool, client_id, fields, now)))
    return succeed(dump_plan(await change_plan(pool, client_id, plan_id, PlanChange(**fields), now)))


async def show_public_keys(request: web.Request) -> web.Response:
    """Publish the keys that our tokens are verified with."""
    keys = await request.app[SIGNING_KEYS].published()
    return JsonAnswer(
        encode_json({"keys": keys}),
        headers={"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"},
    )


async def _authorize(request: web.Request) -> tuple[str, ClientState]:
    """Answer the caller's client and its present state. Raises Forbidden, the same for every fault of a token."""
    try:
        token = await request.app[VERIFIER].verify(read_bearer(request))
    except InvalidToken:
        raise Forbidden(UNAUTHORIZED) from None
    if PLANS_SCOPE not in token.scopes:
        raise Forbidden(UNAUTHORIZED)
    state = await request.app[CLIENT_STATES].fetch(token.client_id)
    if state is None or state.disabled:
        raise Forbidden(UNAUTHORIZED)
    return token.client_id, state
