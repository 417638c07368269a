"""Who is calling: the client of a request's access token, or the refusal."""

from aiohttp import web

from catalog_service.clients.client import ClientState
from catalog_service.components import COMPONENTS
from catalog_service.errors import InvalidAccessToken
from service_chassis.auth.bearer import find_service_key

PLANS_SCOPE = "plans"


async def authenticate(request: web.Request) -> ClientState:
    """Return the present state of the client that the request acts for.

    Raises InvalidAccessToken, the same for every fault of a token.
    """
    components = request.app[COMPONENTS]
    token = await components.verifier.verify_request(request, InvalidAccessToken)
    state = await components.client_states.fetch(token.client_id) if PLANS_SCOPE in token.scopes else None
    if state is None or state.disabled:
        raise InvalidAccessToken
    return state


def authenticate_operator(request: web.Request) -> str:
    """Return the name of the admin key that the request brings. Raises Unauthorized."""
    return find_service_key(request, request.app[COMPONENTS].admin_keys).name
