"""What can be wrong with a change to an account."""

from service_chassis.errors import Conflict, NotFound


class ReferenceReused(Conflict):
    """The id of a grant or an adjustment came again with other content."""

    code = "reference_reused"


class InsufficientCredits(Conflict):
    """An adjustment would take what is available below zero."""

    code = "insufficient_credits"
    message = "The adjustment would take the available credits below zero"


class UnknownPolicy(NotFound):
    """There is no policy of this id."""

    code = "policy_not_found"
    message = "Policy not found"
