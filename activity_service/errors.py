"""The errors of this service: those of calls, with code, status and sentence, and operators'. Billing has its own."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from service_chassis.errors import NotFound, OperatorError, ServiceError


class PlanPlayNotFound(NotFound):
    """There is no play with this id."""

    message = "Plan play not found"


class Overloaded(ServiceError):
    """As many requests are under way as this process takes on, of all or of this client. Nothing was done."""

    status = 503
    code = "overloaded"
    message = "Too many requests under way"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class UsageUnavailable(ServiceError):
    """Metering, which keeps clients' usage, gave no usable response in time."""

    status = 503
    code = "usage_unavailable"
    message = "Usage cannot be read at the moment"
    headers: Mapping[str, str] = {"Retry-After": "1"}


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
