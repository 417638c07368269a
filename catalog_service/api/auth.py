"""Who is calling: the access token of a request as a Caller, or the refusal."""

from dataclasses import dataclass

from aiohttp import web

from catalog_service.components import COMPONENTS
from catalog_service.errors import InvalidAccessToken
from service_chassis.auth.bearer import InvalidToken, find_service_key
from service_chassis.http.request_context import name_in_log

PLANS_SCOPE = "plans"


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that a request acts for, and the version that its plans have at the moment."""

    client_id: str
    plans_version: int


async def authenticate(request: web.Request) -> Caller:
    """Return who the request acts for. Raises InvalidAccessToken, the same for every fault of a token."""
    components = request.app[COMPONENTS]
    try:
        token = await components.verifier.verify_request(request)
    except InvalidToken:
        raise InvalidAccessToken from None
    name_in_log(client_id=token.client_id)
    state = await components.client_states.fetch(token.client_id) if PLANS_SCOPE in token.scopes else None
    if state is None or state.disabled:
        raise InvalidAccessToken
    return Caller(token.client_id, state.plans_version)


def authenticate_operator(request: web.Request) -> str:
    """Return the name of the admin key that the request brings. Raises Unauthorized."""
    return find_service_key(request, request.app[COMPONENTS].admin_keys).name
