"""The errors of this service: those of calls with code, status and sentence, and those of operators' commands."""

from collections.abc import Mapping, Sequence

from service_chassis.errors import Conflict, Forbidden, NotFound, OperatorError, ServiceError, Unauthorized


class InvalidAccessToken(Forbidden):
    """The access token is missing or not to be believed, or its client is disabled: all it learns."""

    message = "UNAUTHORIZED"


class InvalidCredentials(Unauthorized):
    """Unknown client, wrong secret, or disabled client; the same for each."""

    message = "Invalid client credentials"
    headers: Mapping[str, str] = {}  # credentials are in the body, which no scheme of HTTP's asks for


class TooManyAttempts(ServiceError):
    """The credentials are wrong, and were too often. Said of unknown clients too."""

    status = 429
    code = "too_many_attempts"
    message = "Too many failed attempts"


class PlanNotFound(NotFound):
    """The client has no such plan; another client's is none."""

    message = "Plan not found"


class ClientNotFound(NotFound):
    """No client has this id."""

    code = "client_not_found"

    def __init__(self, client_id: str, alike: str | None = None) -> None:
        hint = f"; did you mean {alike}?" if alike else ""
        super().__init__(f"Client {client_id} is not known{hint}")


class ClientExists(Conflict):
    """A client with this id is registered already."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"Client {client_id} exists already")


class SecretNotFound(NotFound):
    """The client has no live secret of this id."""

    def __init__(self, secret_id: str) -> None:
        super().__init__(f"Secret {secret_id} is not there, or it ended")


class TooManySecrets(Conflict):
    """The client has as many live secrets as it may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The client has {most} live secrets; revoke one, or wait until one ends")


class SecretEnds(Conflict):
    """The presented secret is told to end: it was rotated, or issued for a time, and makes no other."""

    message = "This secret is told to end; rotate the one that does not"


class InvalidPlans(OperatorError):
    """Rows that are no plans; `faults` has each one's index and what is wrong with it."""

    def __init__(self, faults: Sequence[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"row {index + 1}: {fault}" for index, fault in faults))
        self.faults = tuple(faults)
