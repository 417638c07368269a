"""Credits that a client was given, for a time or for good, once or again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Every = Literal["day", "week", "month", "year"]
DEFAULT_PRIORITY = 50
MAX_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant, a refund or a correction up, by `kind`, drawn in the order of priority, soonest expiry and age.

    `left` is what neither a charge nor a hold has taken; of one that ended, 0. `pinned` of one that ended is what
    holds that lay on it may still spend, `lapsed` what nobody can spend any more. `was_there`: it was found
    under its id, so an earlier call gave it.
    """

    kind: Literal["grant", "refund", "adjust"]
    grant_id: str
    event_id: str | None
    credits: int
    effective_at: datetime
    expires_at: datetime | None
    priority: int
    source: str | None
    note: str | None
    created_at: datetime
    state: Literal["booked", "cancelled", "live", "used", "expired", "voided"]
    pinned: int
    lapsed: int
    number: int
    left: int
    was_there: bool = False

    def say_done(self) -> str:
        """Return what a person is told who asks for a grant that was there."""
        return f"{self.grant_id} gave {self.credits:,} credits at {self.created_at:%F %T}, and gives nothing again"

    def as_document(self) -> dict[str, Any]:
        """Return the grant as JSON values, for callers and operators alike."""
        return {
            "grantId": self.grant_id,
            "credits": self.credits,
            "effectiveAt": self.effective_at,
            "expiresAt": self.expires_at,
            "priority": self.priority,
            "source": self.source,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """A client's credits, read at one moment: granted + adjusted = spent + held + expired + available.

    `grants` are those that are effective or booked, in the order in which they are drawn.
    """

    client_id: str
    granted: int = 0
    adjusted: int = 0
    spent: int = 0
    expired: int = 0
    held: int = 0
    available: int = 0
    grants: Sequence[Grant] = ()

    @property
    def expiring_next(self) -> dict[str, Any] | None:
        """How many credits expire next, and when; None where none does."""
        ends = [(each.expires_at, each.left) for each in self.grants if each.state == "live" and each.left]
        first = min((at for at, _ in ends if at is not None), default=None)
        return None if first is None else {"credits": sum(left for at, left in ends if at == first), "at": first}

    def as_document(self) -> dict[str, Any]:
        """Return the balance as JSON values, for callers and operators alike."""
        return {
            "clientId": self.client_id,
            "granted": self.granted,
            "adjusted": self.adjusted,
            "spent": self.spent,
            "expired": self.expired,
            "held": self.held,
            "available": self.available,
            "expiringNext": self.expiring_next,
            "grants": [
                {**each.as_document(), "kind": each.kind, "state": each.state, "left": each.left}
                for each in self.grants
            ],
        }


@dataclass(frozen=True, slots=True)
class RecurringTerms:
    """What is granted `every` period from `starts_at` on, in periods that begin before `ends_at`, None for no end.

    Expiring with its period, up to `rollover_max` of what is left goes over into the next one, None for nothing.
    """

    credits: int
    every: Every
    starts_at: datetime
    ends_at: datetime | None
    expires_with_period: bool
    rollover_max: int | None
    priority: int


@dataclass(frozen=True, slots=True)
class RecurringGrant:
    """Terms under their id, and when the next grant of them begins, None where none will."""

    recurring_id: str
    terms: RecurringTerms
    next_at: datetime | None

    def as_document(self) -> dict[str, Any]:
        """Return the recurring grant as JSON values, for callers and operators alike."""
        terms = self.terms
        return {
            "recurringId": self.recurring_id,
            "credits": terms.credits,
            "every": terms.every,
            "startsAt": terms.starts_at,
            "endsAt": terms.ends_at,
            "expires": "period" if terms.expires_with_period else "never",
            "rollover": None if terms.rollover_max is None else {"max": terms.rollover_max},
            "priority": terms.priority,
            "nextAt": self.next_at,
        }
