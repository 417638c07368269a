"""What stands in the databases after a run, as the checker wants it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PlayRow:
    """A play as it stands; `marker` is the operation whose body it was made from."""

    play_id: str
    client_id: str
    marker: str
    key: str | None
    is_ended: bool


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold as it stands, or the part of one that was charged, or given back by its settle (then `events` is 0).

    Credits, events and units are taken from `held_at` on, until `closed_at` if released; in metering's time.
    """

    client_id: str
    event_id: str
    state: str
    credits: int
    held_at: datetime | None
    closed_at: datetime | None
    late: bool
    events: int = 1
    units: int = 1
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """Credits that a client was given, in metering's time.

    `voided_at` and `lapsed_then` are the ledger's: when what was left was taken back, and how much it was at expiry.
    """

    client_id: str
    kind: str
    grant_id: str
    credits: int
    effective_at: datetime
    expires_at: datetime | None = None
    recurring_id: str | None = None
    event_id: str | None = None
    voided_at: datetime | None = None
    lapsed_then: int = 0


@dataclass(frozen=True, slots=True)
class CounterRow:
    """What counts in a quota in one of its periods. `user_id` is empty for the whole client, and for no user."""

    client_id: str
    name: str
    user_id: str
    starts_at: datetime
    used: int
    held: int
