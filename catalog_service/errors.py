"""The errors of this service: those of calls with code, status and sentence, and those of operators' commands."""

from collections.abc import Sequence

from service_chassis.errors import Forbidden, NotFound, OperatorError, ServiceError, Unauthorized


class InvalidAccessToken(Forbidden):
    """The access token is missing or not to be believed, or its client is disabled: all it learns."""

    message = "UNAUTHORIZED"


class InvalidCredentials(Unauthorized):
    """Unknown client, wrong secret, or disabled client; the same for each."""

    message = "Invalid client credentials"


class TooManyAttempts(ServiceError):
    """The credentials are wrong, and were too often. Said of unknown clients too."""

    status = 429
    code = "too_many_attempts"
    message = "Too many failed attempts"


class PlanNotFound(NotFound):
    """The client has no such plan; another client's is none."""

    message = "Plan not found"


class ClientNotFound(OperatorError):
    """No client has this id."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"there is no client {client_id!r}")


class ClientExists(OperatorError):
    """A client with this id is registered already."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"client {client_id!r} exists already")


class InvalidPlans(OperatorError):
    """Rows that are no plans; `faults` has each one's index and what is wrong with it."""

    def __init__(self, faults: Sequence[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"row {index + 1}: {fault}" for index, fault in faults))
        self.faults = tuple(faults)
