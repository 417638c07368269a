"""Errors that an answer is made of: a stable code, a status and a sentence.

Raised once, where the rule is broken; rendered once per API style by `error_rendering`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field. `field` is a dotted path ("items.0.name") or a header's name."""

    field: str
    message: str


class ServiceError(Exception):
    """An answer that is not a success. Subclasses set `status`, `code` and default `message` and `headers`."""

    status = 500
    code = "internal_error"
    message = "Internal server error"
    headers: Mapping[str, str] = {}

    def __init__(
        self,
        message: str | None = None,
        *,
        details: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.details = tuple(details)
        self.headers = dict(self.headers if headers is None else headers)


class InvalidRequest(ServiceError):
    """The request is understood and not acceptable; `details` says which fields and why."""

    status = 400
    code = "invalid_request"
    message = "Invalid request"

    @classmethod
    def field(cls, field: str, message: str) -> "InvalidRequest":
        """Make the error for one field."""
        return cls(details=[FieldError(field, message)])


class Unauthorized(ServiceError):
    """The caller did not prove who it is."""

    status = 401
    code = "unauthorized"
    message = "Unauthorized"
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    message = "Access denied"


class NotFound(ServiceError):
    """There is no such thing, or none that the caller may know of."""

    status = 404
    code = "not_found"
    message = "Not found"


class Conflict(ServiceError):
    """The request contradicts what is stored."""

    status = 409
    code = "conflict"
    message = "Conflict"


class PayloadTooLarge(ServiceError):
    """The body is larger than this call accepts."""

    status = 413
    code = "payload_too_large"
    message = "Request body too large"


class UnsupportedMediaType(ServiceError):
    """The body is not what this call reads."""

    status = 415
    code = "unsupported_media_type"
    message = "Content-Type must be application/json"


class HttpFault(ServiceError):
    """A refusal that the HTTP layer itself made: unknown path, wrong method, and the like."""

    code = "http_error"

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        self.status = status


class KeysUnavailable(ServiceError):
    """The keys that tokens are verified with were never to be had so far: no token can be verified."""

    status = 503
    code = "keys_unavailable"
    message = "Access tokens cannot be verified at the moment"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class TooManyAtOnce(ServiceError, TimeoutError):
    """As many requests of one client wait for the database as one may have there; nothing was done.

    To whoever asks for a connection it is one that did not come in time.
    """

    status = 503
    code = "too_many_at_once"
    message = "Too many requests of this client are under way"
    headers: Mapping[str, str] = {"Retry-After": "1"}


def say(error: Exception) -> str:
    """Return what an operator is told of an error: each field that is wrong, where it is about fields.

    What they gave is an argument or a file, and no request's body.
    """
    details = error.details if isinstance(error, ServiceError) else ()
    faults = (detail.message if detail.field == "body" else f"{detail.field}: {detail.message}" for detail in details)
    return "; ".join(faults) or str(error)


class OperatorError(Exception):
    """What an operator's command cannot do; the text is the whole message, in one line. Nothing was changed."""
