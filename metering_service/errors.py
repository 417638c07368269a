"""The errors of this service, with code, status and sentence; operators' commands show the sentence."""

from service_chassis.errors import Conflict, NotFound


class EventNotFound(NotFound):
    """Nobody ever asked for this event."""

    message = "Event not found"


class PolicyNotFound(NotFound):
    """There is no policy of this id to show."""

    message = "Policy not found"


class UnknownPolicy(NotFound):
    """The policy that a client is to have does not exist."""

    code = "policy_not_found"

    def __init__(self, policy_id: str) -> None:
        super().__init__(f"Policy {policy_id} not found")


class ClientNotFound(NotFound):
    """Nobody ever named this client: it has no policy, no credits, and it never called."""

    code = "client_not_found"

    def __init__(self, client_id: str, alike: str | None = None) -> None:
        hint = f"; did you mean {alike}?" if alike else ""
        super().__init__(f"Client {client_id} is not known{hint}")


class NothingBooked(NotFound):
    """No version of this policy is booked for later."""

    message = "No version of this policy is booked"


class ReferenceReused(Conflict):
    """The id of a grant or an adjustment came again with other content."""

    code = "reference_reused"

    def __init__(self, reference: str) -> None:
        super().__init__(f"{reference} was used before with other content")


class InsufficientCredits(Conflict):
    """An adjustment would take what is available below zero."""

    code = "insufficient_credits"
    message = "The adjustment would take the available credits below zero"


class ClusterRefused(Exception):
    """The server of request rates is a cluster: one script about several clients needs their keys on one node."""
