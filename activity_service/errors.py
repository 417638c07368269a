"""The errors of this service: those of calls with code, status and sentence, those of its steps, and operators'."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from service_chassis.errors import DependencyUnavailable, NotFound, OperatorError, ServiceError

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


class EventNotSold(ServiceError):
    """The client's policy has no price for this event: the provider's mistake, and nothing to wait for."""

    def __init__(self, event_type: str, client_id: str, policy_id: str) -> None:
        super().__init__()
        self.for_the_log = {"event_type": event_type, "client_id": client_id, "policy_id": policy_id}


class Overloaded(ServiceError):
    """As many requests are under way as this process takes on, of all or of this client. Nothing was done."""

    status = 503
    code = "overloaded"
    message = "Too many requests under way"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class EventConflict(ServiceError):
    """Metering knows the ids of this event with other content. A fault to callers, who do not choose the ids."""


class EventOfOtherContent(EventConflict):
    """Metering knows this very event otherwise: of a create with a key, that was used with another body before."""


class HoldReleased(EventConflict):
    """The hold of this attempt was given back before metering was asked for it: by a sweeper that took us for
    dead.
    """


class HoldAbandoned(ServiceError):
    """The hold was taken for left behind while the request was under way. Nothing was done; a retry may succeed."""


class HoldTaken(ServiceError):
    """The hold was used for a fact that is not there any more. Nothing was done."""


class MeteringUnavailable(DependencyUnavailable):
    """Metering gave no usable response in time. `may_be_held`: whether it holds anything for the event is unknown."""

    may_be_held = True


class NotDecided(MeteringUnavailable):
    """Metering said of this one event that it could not be decided now, or was never asked. Nothing is held."""

    may_be_held = False


class MeteringFault(MeteringUnavailable):
    """Metering responded to the call as a whole that it failed, which one event of it may have caused."""


class MeteringRefusedCall(MeteringUnavailable):
    """Metering did not accept the call as a whole: something in it is malformed in metering's eyes."""


class MeteringSlow(Overloaded):
    """Metering takes longer at the moment than the caller can still wait. It was not asked; nothing was done."""


class UsageUnavailable(ServiceError):
    """Metering, which keeps clients' usage, gave no usable response in time."""

    status = 503
    code = "usage_unavailable"
    message = "Usage cannot be read at the moment"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class MalformedResponse(ValueError):
    """Metering's response is not what was agreed; the text is for developers."""


class NotCommitted(Exception):
    """The transaction ended before COMMIT was sent: for certain nothing was stored. The cause says why."""


class OutOfOrder(ValueError):
    """A stream that should be sorted by event id is not: nothing could be said of what follows."""


class ChargesUnreadable(OperatorError):
    """Metering did not list its charges; the text says what it responded."""


class NotParked(OperatorError):
    """Holds that were named are none of parked events; nothing was sent again."""

    def __init__(self, hold_ids: Sequence[UUID]) -> None:
        named = ", ".join(map(str, hold_ids))
        super().__init__(f"no event is parked with the hold {named}; nothing was sent again")


class NobodyFound(OperatorError):
    """Nothing is held about the person who was named; nothing was changed.

    Says by which option, and not who: a repeated erasure must not leave in a log what it took out of the tables.
    """

    def __init__(self, client_id: str, option: str, *, is_client_known: bool) -> None:
        if is_client_known:
            super().__init__(f"{option}: client {client_id} has nothing of this person here")
        else:
            super().__init__(f"--client: there is nothing of a client {client_id} here")


class NotYetCharged(OperatorError):
    """Some of the user's events are still to be charged, and metering must be told of them as they were."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} of the user's events are not charged yet; nothing was erased: try again in a moment, "
            "and see `billing status` if it stays so"
        )
