"""The errors of this service, with code, status and sentence; operators' commands show the sentence."""

from service_chassis.errors import Conflict, NotFound, OperatorError


class EventNotFound(NotFound):
    """Nobody ever asked for this event."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} not found")


class RefusalNotFound(NotFound):
    """No refusals of this kind are kept of this minute."""

    message = "These refusals are not kept, or not any more"


class PolicyNotFound(NotFound):
    """There is no policy of this id to show."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(f"Policy {policy_id} not found")


class PolicyChanged(Conflict):
    """Somebody made another version after the one that a change was made of."""

    code = "policy_changed"

    def __init__(self, policy_id: str, version: int) -> None:
        super().__init__(f"Policy {policy_id} was changed meanwhile: its newest version is {version}")


class PolicyNotBegun(Conflict):
    """A client would have a policy before any version of it is in force, and nothing to decide its events by."""

    code = "policy_not_begun"

    def __init__(self, policy_id: str) -> None:
        super().__init__(f"The first version of policy {policy_id} must be in force before any client has the policy")


class UnknownPolicy(PolicyNotFound):
    """The policy that a client is to have does not exist."""

    code = "policy_not_found"


class ClientNotFound(NotFound):
    """Nobody ever named this client: it has no policy, no credits, and it never called."""

    code = "client_not_found"

    def __init__(self, client_id: str, alike: str | None = None) -> None:
        hint = f"; did you mean {alike}?" if alike else ""
        super().__init__(f"Client {client_id} is not known{hint}")


class UserNotFound(OperatorError):
    """Nothing that is kept of the client names this user; nothing was changed.

    Does not say who: a repeated erasure must not leave in a log what it took out of the tables.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(f"--user: client {client_id} has nothing of this user here")


class NothingBooked(NotFound):
    """No version of this policy is booked for later."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(f"No version of policy {policy_id} is booked")


class GrantNotFound(NotFound):
    """The client has no grant of this id."""

    code = "grant_not_found"

    def __init__(self, grant_id: str) -> None:
        super().__init__(f"Grant {grant_id} not found")


class GrantEnded(Conflict):
    """Of this grant nothing is left that could be taken."""

    code = "grant_ended"

    def __init__(self, grant_id: str, state: str) -> None:
        super().__init__(f"Grant {grant_id} {'has expired' if state == 'expired' else 'is used up'}")


class EventNotCharged(NotFound):
    """There is no charge of this event to give back."""

    code = "event_not_charged"

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} was not charged")


class RefundTooLarge(Conflict):
    """All refunds of an event together would be more than it was charged."""

    code = "refund_too_large"

    def __init__(self, event_id: str, left: int) -> None:
        super().__init__(f"Of the charge of {event_id} {left} credits can be refunded")


class NoticeNotFound(NotFound):
    """There is no notice of this id, or none any more."""

    code = "notice_not_found"

    def __init__(self, notice_id: str) -> None:
        super().__init__(f"Notice {notice_id} not found")


class UnknownReceiver(NotFound):
    """No receiver of webhooks has this name, or none is configured at all."""

    code = "receiver_not_found"

    def __init__(self, name: str | None) -> None:
        super().__init__(
            "No receiver is configured in METERING_WEBHOOKS"
            if name is None
            else f"METERING_WEBHOOKS names no receiver {name}"
        )


class ReferenceReused(Conflict):
    """The id of a grant, a refund or an adjustment came again with other content."""

    code = "reference_reused"

    def __init__(self, reference: str) -> None:
        super().__init__(f"{reference} was used before with other content")


class InsufficientCredits(Conflict):
    """An adjustment would take what is available below zero."""

    code = "insufficient_credits"
    message = "The adjustment would take the available credits below zero"
