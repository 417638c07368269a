"""Who is calling: the service key of a request, or the refusal."""

from collections.abc import Callable, Sequence
from functools import wraps

from aiohttp import web
from aiohttp.typedefs import Handler

from metering_service.components import COMPONENTS
from service_chassis.auth.bearer import find_service_key
from service_chassis.auth.service_keys import ServiceKey
from service_chassis.errors import Forbidden

ACCEPTED_SCOPES = web.AppKey[Sequence[str]]("accepted_scopes")
"""Of the keys that an application takes: the one of administration takes no others than its own."""
KEY = web.RequestKey("service_key", ServiceKey)
"""The key of a request to a handler `for_keys`."""


def for_keys(*scopes: str) -> Callable[[Handler], Handler]:
    """Have a handler called for a key of one of `scopes` only, as `authenticate` finds it."""

    def guard(handler: Handler) -> Handler:
        @wraps(handler)
        async def authenticated(request: web.Request) -> web.StreamResponse:
            request[KEY] = authenticate(request, *scopes)
            return await handler(request)

        return authenticated

    return guard


def authenticate(request: web.Request, *scopes: str) -> ServiceKey:
    """Return the key of the request.

    Raises Unauthorized, or Forbidden when its scope is none of `scopes` that the application accepts.
    """
    key = find_service_key(request, request.app[COMPONENTS].service_keys)
    if key.scope not in scopes or key.scope not in request.app[ACCEPTED_SCOPES]:
        accepted = [scope for scope in scopes if scope in request.app[ACCEPTED_SCOPES]]
        raise Forbidden(f"This call needs a key of scope {' or '.join(accepted)}")
    return key
