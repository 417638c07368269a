"""Who is calling, and what of the plan plays that one may see and make."""

from dataclasses import dataclass

from activity_service.plays.plan_play import STATUSES, PlanPlay, PlanPlayFilter
from service_chassis.errors import Forbidden, InvalidRequest


@dataclass(frozen=True, slots=True)
class Caller:
    """The client and, with a user token, the user that a request acts for."""

    client_id: str
    user_id: str | None
    may_read_all_clients: bool = False
    """May name another client in a list. A single play of another client stays closed."""

    def choose_user(self, asked: str | None) -> str | None:
        """Return whose a new play is. Raises InvalidRequest when a user token names another user."""
        if self.user_id is None:
            return asked
        if asked not in (None, self.user_id):
            raise InvalidRequest.field("userId", "Must be the user of the access token.")
        return self.user_id

    def require_access(self, play: PlanPlay) -> None:
        """Raise Forbidden unless the play is this client's and, with a user token, this user's."""
        if play.client_id != self.client_id or self.user_id not in (None, play.user_id):
            raise Forbidden()

    def narrow(
        self, *, client_id: str | None, user_id: str | None, status: str | None, plan_id: str | None
    ) -> PlanPlayFilter | None:
        """Return which plays this caller gets when it asks for these; None when there can be none.

        `client_id` counts only for a caller that may read all clients' plays.
        """
        if self.user_id is not None and user_id not in (None, self.user_id):
            return None
        if status is not None and status not in STATUSES:
            return None
        whose = client_id if client_id is not None and self.may_read_all_clients else self.client_id
        return PlanPlayFilter(whose, self.user_id or user_id, status, plan_id)
