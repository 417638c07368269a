"""Refuse query parameters that a call does not know, and known ones given twice: a typo must not widen a question."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.errors import FieldError, InvalidRequest
from service_chassis.openapi.endpoint import Endpoint


def known_query_middleware(endpoints: Sequence[Endpoint]) -> Middleware:
    """Make the middleware, for an API whose calls are all our own. It goes innermost.

    Where a document of somebody else's says nothing about further parameters, leave it out: there they are ignored.
    """
    known = {
        (endpoint.method, endpoint.path): frozenset(
            parameter["name"] for parameter in endpoint.parameters if parameter["in"] == "query"
        )
        for endpoint in endpoints
    }

    @web.middleware
    async def refuse_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        names = known.get((request.method, resource.canonical if resource is not None else ""))
        if names is not None and request.query_string:
            faults = [
                FieldError(name[:100], "Unknown parameter." if name not in names else "Must be given once.")
                for name in dict.fromkeys(request.query)
                if name not in names or len(request.query.getall(name)) > 1
            ]
            if faults:
                raise InvalidRequest(details=faults)
        return await handler(request)

    return refuse_unknown
