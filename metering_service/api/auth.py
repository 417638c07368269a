"""Who is calling: the service key of a request, or the refusal."""

import hashlib

from aiohttp import web

from metering_service.components import COMPONENTS
from metering_service.settings import ServiceKey
from service_chassis.auth.bearer import InvalidToken, read_bearer
from service_chassis.errors import Forbidden, Unauthorized


def authenticate(request: web.Request, *scopes: str) -> ServiceKey:
    """Return the key of the request. Raises Unauthorized, or Forbidden when its scope is none of `scopes`."""
    try:
        credential = read_bearer(request)
    except InvalidToken:
        credential = ""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
    key = request.app[COMPONENTS].service_keys.get(digest)
    if key is None:
        raise Unauthorized(headers={"WWW-Authenticate": "Bearer"})
    if key.scope not in scopes:
        raise Forbidden(f"This call needs a key of scope {' or '.join(scopes)}")
    return key
