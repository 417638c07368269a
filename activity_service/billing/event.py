"""Billable events: what metering is asked about before a fact, and told after it."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from uuid_utils.compat import uuid7

from activity_service.plays.plan_play import PlanPlay

PLAY_CREATED = "plan_play.created"
PLAY_COMPLETED = "plan_play.completed"
OWN_EVENT_TYPES = frozenset({PLAY_CREATED, PLAY_COMPLETED})
"""The facts that this service knows the truth about."""


@dataclass(frozen=True, slots=True)
class BillableEvent:
    """One attempt (`hold_id`, new each time) to bill one fact (`event_id`, the same for ever)."""

    hold_id: UUID
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None = None
    units: int = 1


class Fate(Enum):
    """What stands in the fence for a hold: whoever wrote first decided, and everybody else gives way."""

    WON = "won"
    """We wrote 'happened', together with the fact."""
    HAPPENED = "happened"
    """Another request wrote 'happened' for this hold, together with the same fact."""
    ABANDONED = "abandoned"
    """The hold was given up: it must not be used any more."""


def play_created(play: PlanPlay) -> BillableEvent:
    """Make an attempt to bill the creation of `play`."""
    return _attempt(PLAY_CREATED, play)


def play_completed(play: PlanPlay) -> BillableEvent:
    """Make an attempt to bill the first completion of `play`."""
    return _attempt(PLAY_COMPLETED, play)


def _attempt(event_type: str, play: PlanPlay) -> BillableEvent:
    return BillableEvent(uuid7(), f"{event_type}:{play.id}", play.client_id, event_type, play.user_id)
