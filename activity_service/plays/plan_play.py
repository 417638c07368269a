"""A plan play: one user's (or client's) way through one plan, the rules about it, and who may see and make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from metering_client.event import BillableEvent, start_attempt
from service_chassis.errors import Forbidden, InvalidRequest

STATUSES = ("active", "paused", "ended", "cancelled")

PLAY_CREATED = "plan_play.created"
PLAY_COMPLETED = "plan_play.completed"
OWN_EVENT_TYPES = frozenset({PLAY_CREATED, PLAY_COMPLETED})
"""What is billed: the facts that this service knows the truth about."""

Fields = Mapping[str, Any]
"""What a caller says of a play, by the names of PlanPlay's fields; None is as if it were not said."""

PSEUDONYM_PREFIX = "erased-"
"""How the name begins that stands in an erased user's place."""


@dataclass(slots=True)
class PlanPlay:
    """One play as it is stored; the fields are in the order of the table's columns. `id` is a UUID as text.

    Nobody changes a play. It is not frozen because making a frozen one takes three times as long.
    """

    id: str
    client_id: str
    user_id: str | None
    plan_id: str
    status: str
    planned_lessons: Sequence[str]
    current_lesson_index: int
    completed_lessons: Sequence[str]
    completed_lesson_plays: Sequence[str]
    total_lessons_completed: int
    email: str | None
    display_name: str | None
    photo_url: str | None
    assignment_source: str | None
    risk_level: str | None
    created_at: datetime
    updated_at: datetime
    last_played_at: datetime | None
    completed_at: datetime | None
    first_ended_at: datetime | None

    def as_created(self) -> "PlanPlay":
        """Return the play as it was when it was new: what the response to its creation said."""
        return replace(
            self,
            status="active",
            current_lesson_index=0,
            completed_lessons=(),
            completed_lesson_plays=(),
            total_lessons_completed=0,
            updated_at=self.created_at,
            last_played_at=None,
            completed_at=None,
            first_ended_at=None,
        )


@dataclass(frozen=True, slots=True)
class PlanPlayFilter:
    """Which plays a list holds: those of one client, and, where given, of a user, a status, a plan."""

    client_id: str
    user_id: str | None = None
    status: str | None = None
    plan_id: str | None = None


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


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a list, newest first: after the play with these two."""

    created_at: datetime
    play_id: str


def start_plan_play(play_id: str, client_id: str, user_id: str | None, new: Fields, now: datetime) -> PlanPlay:
    """Make the play that `new` asks for, as it is at its beginning."""
    return PlanPlay(
        id=play_id,
        client_id=client_id,
        user_id=user_id,
        plan_id=new["plan_id"],
        status="active",
        planned_lessons=new.get("planned_lessons") or (),
        current_lesson_index=0,
        completed_lessons=(),
        completed_lesson_plays=(),
        total_lessons_completed=0,
        email=new.get("email"),
        display_name=new.get("display_name"),
        photo_url=new.get("photo_url"),
        assignment_source=new.get("assignment_source"),
        risk_level=new.get("risk_level"),
        created_at=now,
        updated_at=now,
        last_played_at=None,
        completed_at=None,
        first_ended_at=None,
    )


def play_created(play: PlanPlay) -> BillableEvent:
    """Make an attempt to bill the creation of `play`."""
    return start_attempt(PLAY_CREATED, play.id, play.client_id, play.user_id)
