"""Turn every error into an answer of the API's own shape, once.

A fault that nobody expected is a plain 500. The log says what kind of fault and where in our code; neither
the answer nor the log carries a stack trace or the error's own text, which may quote a person's data.
"""

import traceback
from collections.abc import Callable
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.errors import HttpFault, PayloadTooLarge, ServiceError

RenderError = Callable[[ServiceError], web.Response]

_log = structlog.get_logger(__name__)
_PROJECT_ROOT = str(Path(__file__).resolve().parents[2])


def error_middleware(render: RenderError) -> Middleware:
    """Make the middleware that renders errors with `render`; `ServiceError.headers` are added to its answer."""

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
        response = render(failure)
        response.headers.update(failure.headers)
        return response

    return render_errors


def describe_http_exception(error: web.HTTPException) -> ServiceError:
    """Answer a refusal of aiohttp's as an error of ours, without its text, which may quote the request."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PayloadTooLarge()
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return HttpFault(error.status, error.reason, headers=allow)


def log_fault(event: str, error: BaseException, **fields: object) -> None:
    """Log a fault as its kinds and its place in our code, the cause last."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 5:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    _log.error(event, fault=" < ".join(kinds), at=_place(error), **fields)


def _place(error: BaseException) -> str:
    """Name the innermost line of this project that the error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_PROJECT_ROOT) and ".venv" not in frame.filename]
    if not own:
        return "outside"
    last = own[-1]
    return f"{Path(last.filename).relative_to(_PROJECT_ROOT)}:{last.lineno} {last.name}"
