"""What a client did with its credits and quotas: lines of the ledger, quota in use."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from metering_service.policies.policy import Quota


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A line of the ledger, never changed. `credits` is signed: a spend is negative, or 0 for a free event.

    `reference` is the caller's id of a grant, a refund or an adjustment; what lapses of a grant, `expire` and `void`,
    has the grant's. A spend's are `event_type`, `user_id`, `units` and `day`, the UTC day on which the fact happened.
    `at` is when a line took effect, `posted_at` when it was written, None for then.
    """

    entry_id: int
    kind: Literal["grant", "spend", "expire", "void", "refund", "adjust"]
    reference: str | None
    credits: int
    event_id: str | None
    event_type: str | None
    source: str | None
    note: str | None
    late: bool
    at: datetime
    user_id: str | None
    units: int | None
    day: date | None
    posted_at: datetime | None
    actor: str | None

    def as_document(self) -> dict[str, Any]:
        """Return the entry as JSON values, without what does not apply, for callers and operators alike."""
        optional = {
            "eventId": self.event_id,
            "eventType": self.event_type,
            "userId": self.user_id,
            "units": self.units,
            "day": self.day,
            "source": self.source,
            "note": self.note,
            "reference": self.reference,
            "actor": self.actor,
            "postedAt": self.posted_at,
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
    units: int
    credits: int
    late: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """A quota in its present period, which ends at `resets_at`: what is charged and held, in what it counts."""

    quota: Quota
    starts_at: datetime
    resets_at: datetime
    used: int
    held: int

    def as_document(self) -> dict[str, Any]:
        """Return the quota as JSON values, for callers and operators alike."""
        return {
            **self.quota.as_document(),
            "startsAt": self.starts_at,
            "resetsAt": self.resets_at,
            "used": self.used,
            "held": self.held,
        }
