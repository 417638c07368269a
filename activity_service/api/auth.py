"""Who is calling: the access token of a request as a Caller, or the refusal."""

from aiohttp import web

from activity_service.components import COMPONENTS
from activity_service.plays.plan_play import Caller
from service_chassis.errors import Forbidden, Unauthorized

PLAN_PLAYS_SCOPE = "plan_plays"
ALL_CLIENTS_SCOPE = "plan_plays:all_clients"


async def authenticate(request: web.Request) -> Caller:
    """Return who the request acts for. Raises Unauthorized, or Forbidden for a token without our scope."""
    token = await request.app[COMPONENTS].verifier.verify_request(request, Unauthorized)
    if PLAN_PLAYS_SCOPE not in token.scopes:
        raise Forbidden
    return Caller(token.client_id, token.user_id, ALL_CLIENTS_SCOPE in token.scopes)
