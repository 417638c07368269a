"""What authorizing and charging can end with, most of it with status, code and sentence, as a response needs them.

Each says what is certain: whether anything was done, and whether trying again may help.
"""

from collections.abc import Mapping

from service_chassis.errors import OperatorError, ServiceError

SENTENCES = {
    "api_rate_limited": "Request rate exceeded",
    "api_quota_exceeded": "Quota exceeded for this period",
    "api_balance_exhausted": "Prepaid credits exhausted",
}
"""The three refusals, and what is said of each when metering says nothing itself."""


class BillingError(ServiceError):
    """The event was not charged, now. `status`, `message` and `headers` are those of a response that says so."""


class EventInvalid(BillingError, ValueError):
    """Units or ids are none that metering takes; nobody was asked. 400: most often they are the caller's."""

    status = 400
    code = "invalid_request"


class EventRefused(BillingError):
    """Metering denied the event: nothing was done. `retry_after_seconds` is None where waiting does not help."""

    status = 429

    def __init__(
        self,
        code: str,
        retry_after_seconds: int | None,
        message: str | None = None,
        limit_headers: Mapping[str, str] | None = None,
    ) -> None:
        """`limit_headers` say what is left of each limit."""
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        super().__init__(message or SENTENCES[code], headers={**headers, **(limit_headers or {})})
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class EventNotSold(BillingError):
    """The client's policy has no price for this event: the provider's mistake, and nothing to wait for."""

    def __init__(self, event_type: str, client_id: str, policy_id: str) -> None:
        super().__init__()
        self.for_the_log = {"event_type": event_type, "client_id": client_id, "policy_id": policy_id}


class EventConflict(BillingError):
    """Metering knows the ids of this event with other content. A fault to callers, who do not choose the ids."""


class EventOfOtherContent(EventConflict):
    """Metering knows this very event otherwise: of a create with a key, that was used with another body before."""


class HoldReleased(EventConflict):
    """The hold of this attempt was given back before metering was asked for it: by a sweeper that took us for
    dead.
    """


class FactExists(BillingError):
    """The fact was there already, by another request for it: it is charged once. Answer with what is stored.

    409 to callers who get to see it.
    """

    status = 409
    code = "exists_already"
    message = "This was done already"


class HoldAbandoned(BillingError):
    """The hold was taken for left behind while the request was under way. Nothing was done; a retry may succeed."""


class HoldTaken(BillingError):
    """The hold was used for a fact that is not there any more. Nothing was done."""


class MeteringUnavailable(BillingError):
    """Metering gave no usable response in time. `may_be_held`: whether it holds anything for the event is unknown."""

    may_be_held = True


class NotDecided(MeteringUnavailable):
    """Metering said of this one event that it could not be decided now, or was never asked. Nothing is held."""

    may_be_held = False


class MeteringFault(MeteringUnavailable):
    """Metering responded to the call as a whole that it failed, which one event of it may have caused."""


class MeteringRefusedCall(MeteringUnavailable):
    """Metering did not accept the call as a whole: something in it is malformed in metering's eyes."""


class MeteringSlow(BillingError):
    """Metering takes longer at the moment than the caller can still wait. It was not asked; nothing was done."""

    status = 503
    code = "overloaded"
    message = "Too many requests under way"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class MalformedResponse(ValueError):
    """Metering's response is not what was agreed; the text is for developers."""


class OutOfOrder(ValueError):
    """A stream that should be sorted by event id is not: nothing could be said of what follows."""


class ChargesUnreadable(OperatorError):
    """Metering did not list its charges; the text says what it responded."""
