"""What a client has, and how it came to it: balance, quota in use, lines of the ledger."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from metering_service.policies.policy import Quota, find_period


@dataclass(frozen=True, slots=True)
class Balance:
    """A client's credits, read at one moment: granted = spent + held + available."""

    client_id: str
    granted: int = 0
    spent: int = 0
    held: int = 0
    available: int = 0

    def as_document(self) -> dict[str, Any]:
        """Return the balance as JSON values, for callers and operators alike."""
        amounts = asdict(self)
        return {"clientId": amounts.pop("client_id"), **amounts}


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A line of the ledger, never changed. `credits` is signed: a spend is negative, or 0 for a free event.

    `reference` is the caller's id of a grant or an adjustment; `event_id` and `event_type` are a spend's.
    """

    entry_id: int
    kind: Literal["grant", "spend", "adjust"]
    reference: str | None
    credits: int
    event_id: str | None
    event_type: str | None
    source: str | None
    note: str | None
    late: bool
    at: datetime

    def as_document(self) -> dict[str, Any]:
        """Return the entry as JSON values, without what does not apply, for callers and operators alike."""
        optional = {
            "eventId": self.event_id,
            "eventType": self.event_type,
            "note": self.note,
            "reference": self.reference,
            "late": self.late or None,
        }
        return {
            "entryId": self.entry_id,
            "kind": self.kind,
            "credits": self.credits,
            "at": self.at,
            **{name: value for name, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class Charge:
    """The spend of one event. `credits` is signed as in the ledger; `late`: charged without a live hold."""

    event_id: str
    hold_id: UUID
    client_id: str
    event_type: str
    credits: int
    late: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """Events of an account that are charged or held, of the UTC day of its last event and of that day's month."""

    counted_on: date
    day_used: int
    day_held: int
    month_used: int
    month_held: int


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """A quota in its present period, `end` not part of it: events charged, and events held."""

    limit: int
    start: datetime
    end: datetime
    used: int = 0
    held: int = 0


def find_quota_use(quota: Quota, counters: Counters | None, now: datetime) -> QuotaUse:
    """Return how much of `quota` is used at `now` (UTC); `counters` is None of a client never heard of."""
    start, end = find_period(quota.period, now)
    # The counters belong to the day, and to the month, of the last event; if that period is over they are history.
    if counters is None or counters.counted_on < start.date():
        return QuotaUse(quota.limit, start, end)
    if quota.period == "day":
        return QuotaUse(quota.limit, start, end, counters.day_used, counters.day_held)
    return QuotaUse(quota.limit, start, end, counters.month_used, counters.month_held)
