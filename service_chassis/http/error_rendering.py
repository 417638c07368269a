"""Turn every error into a response of the API's own shape, once.

A fault that nobody expected is a plain 500. The log says what kind of fault and where in our code; neither
the response nor the log carries a stack trace or the error's own text, which may quote a person's data.
"""

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.errors import HttpFault, PayloadTooLarge, ServiceError
from service_chassis.http.request_context import name_in_log
from service_chassis.operations.logging import log_fault

RenderError = Callable[[ServiceError], web.Response]


def error_middleware(render: RenderError) -> Middleware:
    """Make the middleware that renders errors with `render`; `ServiceError.headers` are added to its response."""

    @web.middleware
    async def render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServiceError as error:
            failure = error
            # 503 is a refusal, given on purpose and counted where it is: a line each would make an overload worse.
            if error.status >= 500 and error.status != 503:
                log_fault("request_failed", error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            failure = describe_http_exception(error)
        except Exception as error:
            log_fault("request_failed", error)
            failure = ServiceError()
        name_in_log(code=failure.code)
        response = render(failure)
        response.headers.update(failure.headers)
        return response

    return render_errors


def describe_http_exception(error: web.HTTPException) -> ServiceError:
    """Return a refusal of aiohttp's as an error of ours, without its text, which may quote the request."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PayloadTooLarge()
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return HttpFault(error.status, error.reason, headers=allow)
