"""The answers that only this service gives."""

from service_chassis.errors import DependencyUnavailable, NotFound, ServiceError

SENTENCES = {
    "api_rate_limited": "Request rate exceeded",
    "api_quota_exceeded": "Quota exceeded for this period",
    "api_balance_exhausted": "Prepaid credits exhausted",
}
"""The three refusals, and what is said of each when metering says nothing itself."""


class PlanPlayNotFound(NotFound):
    """There is no play with this id."""

    message = "Plan play not found"


class EventRefused(ServiceError):
    """Metering denied the event: nothing was done. `retry_after_seconds` is None where waiting does not help."""

    status = 429

    def __init__(self, code: str, retry_after_seconds: int | None, message: str | None = None) -> None:
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        super().__init__(message or SENTENCES[code], headers=headers)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class Overloaded(ServiceError):
    """As many creates and first completions are under way as this process takes on. Nothing was done."""

    status = 503
    code = "overloaded"
    message = "Too many requests under way"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class EventConflict(ServiceError):
    """Metering knows the ids of this event with other content. Answered as a fault: callers do not choose the ids."""


class EventOfOtherContent(EventConflict):
    """Metering knows this very event otherwise: of a create with a key, that was used with another body before."""


class HoldAbandoned(ServiceError):
    """The hold was taken for left behind while the request was under way. Nothing was done; a retry may succeed."""


class HoldTaken(ServiceError):
    """The hold stands for a fact that another request committed, and there is no kept answer to give instead."""


class MeteringUnavailable(DependencyUnavailable):
    """Metering gave no usable answer in time. Whether it holds anything is unknown: the sweeper finds out."""


class MeteringRefusedCall(MeteringUnavailable):
    """Metering did not accept the call as a whole: something in it is malformed in metering's eyes."""
