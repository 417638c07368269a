"""What a client was charged for and refused, in sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

Window = Literal["day", "month"]
GroupBy = Literal["eventType", "user"]


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The charges and refusals of one group in a window: a UTC day, or a month, told as its first day.

    `group` is an event type or a user's id, None for events without a user and for people who were erased. `overage`
    is what was above the limits of quotas, in what each of them counts, `refused` how many events were, by code; both
    None by user. `last_at` is the moment of the last charge or refusal.
    """

    window: date
    group: str | None
    charged: int
    units: int
    credits: int
    overage: int | None
    refused: Mapping[str, int] | None
    last_at: datetime

    def as_document(self, group_by: GroupBy) -> dict[str, Any]:
        """Return the sum as JSON values, for callers and operators alike."""
        document: dict[str, Any] = {
            "window": self.window,
            "userId" if group_by == "user" else group_by: self.group,
            "charged": self.charged,
            "units": self.units,
            "credits": self.credits,
        }
        if group_by == "eventType":
            document |= {"overage": self.overage, "refused": self.refused}
        return {**document, "lastAt": self.last_at}


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums of a client's charges and refusals from one day up to another, which is not part of it.

    `is_final`: the days are over and no hold of them lives, so that only a late charge can still change them.
    """

    client_id: str
    from_day: date
    to_day: date
    is_final: bool
    sums: list[UsageSum]
