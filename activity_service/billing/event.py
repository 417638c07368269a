"""Billable events: what metering is asked about before a fact, and told after it."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from uuid_utils.compat import uuid7


@dataclass(frozen=True, slots=True)
class BillableEvent:
    """One attempt (`hold_id`, new each time) to bill one fact (`event_id`, the same for ever)."""

    hold_id: UUID
    event_id: str
    client_id: str
    event_type: str
    user_id: str | None = None
    units: int = 1


class Outcome(Enum):
    """What stands in the fence (commit record) of a hold: whoever wrote first decided, everybody else gives way."""

    WON = "won"
    """We wrote 'happened', together with the fact."""
    HAPPENED = "happened"
    """Another request wrote 'happened' for this hold, together with the same fact."""
    ABANDONED = "abandoned"
    """The hold was given up: it must not be used any more."""


def start_attempt(event_type: str, fact_id: object, client_id: str, user_id: str | None) -> BillableEvent:
    """Make an attempt to bill the fact of this type that `fact_id` names, with a hold id of its own."""
    return BillableEvent(uuid7(), f"{event_type}:{fact_id}", client_id, event_type, user_id)
