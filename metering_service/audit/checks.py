"""What must be true of accounts, holds and ledger at every moment: pure checks, a row at a time.

The rows come from one snapshot (store.py). Each check yields what is wrong, in words that name both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from service_chassis.cli.audit_report import Finding


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """An account beside what ledger, holds and grants say it should be, in credits.

    `has_account` is False where entries or holds name a client that has no account. `is_ahead`: its last moment, or
    a period that counts, has not come yet: the database's clock was wrong. `is_behind`: its grants should have
    changed before its last moment. `laid` and `pinned_spent` are what was
    taken from grants for what was spent, `ledger_taken` what corrections down took. `drawn` and `pins_paid` are
    what is noted of which grants paid.
    """

    client_id: str
    has_account: bool
    is_ahead: bool
    is_behind: bool
    granted: int
    adjusted: int
    spent: int
    expired: int
    held: int
    late_spent: int
    overdraft: int
    laid: int
    pinned_spent: int
    ledger_granted: int
    ledger_adjusted: int
    ledger_spent: int
    ledger_expired: int
    ledger_late: int
    ledger_taken: int
    holds_held: int
    holds_pinned: int
    grants_taken: int
    grants_lapsed: int
    grants_pinned: int
    grants_credits: int
    ledger_given: int
    ledger_pinned: int
    drawn: int
    pins_held: int
    pins_paid: int


@dataclass(frozen=True, slots=True)
class CounterFacts:
    """What a counter of a quota says, beside what the charges and the live holds that name it make."""

    client_id: str
    name: str
    starts_at: datetime
    used: int
    held: int
    charged: int
    holds: int


@dataclass(frozen=True, slots=True)
class UsageFacts:
    """The usage of a client, event type and day, beside the sums of its charges.

    Each is (charged, units, credits, overage).
    """

    client_id: str
    event_type: str
    day: date
    stands: tuple[int, ...]
    should: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """What an event was charged, None for nothing, beside all that was refunded of it."""

    client_id: str
    event_id: str
    charged: int | None
    refunded: int


@dataclass(frozen=True, slots=True)
class RepeatedPeriod:
    """A period of a recurring grant that has more than one grant."""

    client_id: str
    recurring_id: str
    starts_at: datetime
    grants: int


@dataclass(frozen=True, slots=True)
class ChargeFacts:
    """A spend of the ledger. `credits` is signed, `late_credits` the part that was not held, None for none."""

    client_id: str
    event_id: str
    credits: int
    late_credits: int | None
    is_late: bool
    is_held: bool


@dataclass(frozen=True, slots=True)
class RepeatedEvent:
    """An event with more than one ledger line, or more than one live hold."""

    client_id: str
    event_id: str
    lines: int
    live_holds: int


@dataclass(frozen=True, slots=True)
class OldHold:
    """A hold that its caller has not resolved yet."""

    hold_id: UUID
    event_id: str
    client_id: str
    credits: int
    held_at: datetime


_AMOUNTS = (
    ("granted", "ledger_granted", "grants and refunds in the ledger"),
    ("adjusted", "ledger_adjusted", "adjustments in the ledger"),
    ("spent", "ledger_spent", "spends in the ledger"),
    ("expired", "ledger_expired", "expiries and voids in the ledger"),
    ("expired", "grants_lapsed", "what lapsed of ended grants"),
    ("late_spent", "ledger_late", "late spends in the ledger"),
    ("held", "holds_held", "live holds"),
    ("grants_pinned", "holds_pinned", "live holds that lie on ended grants"),
    ("grants_credits", "ledger_given", "grants, refunds and corrections up in the ledger"),
    ("laid", "drawn", "the notes of which grants paid"),
    ("pinned_spent", "ledger_pinned", "charges that ended grants paid"),
    ("pinned_spent", "pins_paid", "the notes of which ended grants paid"),
    ("holds_pinned", "pins_held", "the notes of which ended grants are to pay"),
)


def check_account(facts: AccountFacts) -> Iterator[Finding]:
    """Yield what an account's totals say otherwise than its ledger and its holds."""
    if not facts.has_account:
        yield Finding("account_missing", facts.client_id, "has ledger entries or holds, and no account")
        return
    for amount, source, words in _AMOUNTS:
        stands, should = getattr(facts, amount), getattr(facts, source)
        if stands != should:
            yield Finding(f"account_{amount}", facts.client_id, f"{amount} is {stands}, but {words} make {should}")
    drawn = facts.laid + facts.pinned_spent + facts.ledger_taken
    if facts.grants_taken != drawn:
        yield Finding(
            "grants_taken", facts.client_id, f"{facts.grants_taken} was taken from grants, but charges make {drawn}"
        )
    if facts.is_behind:
        yield Finding(
            "account_behind",
            facts.client_id,
            "was decided about after a moment at which its grants change, as if that had not come",
        )
    if facts.is_ahead:
        yield Finding(
            "account_ahead",
            facts.client_id,
            "was counted at a moment to come: see `python -m metering_service mend-clock`",
        )
    available = facts.granted + facts.adjusted - facts.expired - facts.spent - facts.held
    if available < -facts.late_spent - facts.overdraft:
        yield Finding(
            "account_oversold",
            facts.client_id,
            f"available is {available}, and late charges and an overdraft explain no more than "
            f"{-facts.late_spent - facts.overdraft}",
        )


def check_counter(facts: CounterFacts) -> Iterator[Finding]:
    """Yield what a quota's counter says otherwise than the charges and holds that count in it."""
    for amount, stands, should, words in (
        ("used", facts.used, facts.charged, "charges"),
        ("held", facts.held, facts.holds, "live holds"),
    ):
        if stands != should:
            yield Finding(
                f"counter_{amount}",
                facts.client_id,
                f"{facts.name} from {facts.starts_at:%Y-%m-%dT%H:%M:%SZ} has {stands} {amount}, but {words} make "
                f"{should}",
            )


def check_usage(facts: UsageFacts) -> Iterator[Finding]:
    """Yield where the usage of a day is not the sum of its charges."""
    if facts.stands != facts.should:
        yield Finding(
            "usage_apart",
            facts.client_id,
            f"{facts.event_type} on {facts.day} stands as (charged, units, credits, overage) {facts.stands}, but the "
            f"ledger makes {facts.should}",
        )


def check_refund(facts: RefundFacts) -> Iterator[Finding]:
    """Yield where more was refunded of an event than it was charged."""
    if facts.charged is None or facts.refunded > facts.charged:
        yield Finding(
            "refunded_too_much",
            facts.event_id,
            f"of {facts.client_id} was charged {facts.charged or 0}, and {facts.refunded} were refunded",
        )


def check_period(facts: RepeatedPeriod) -> Iterator[Finding]:
    """Yield a period that was granted more than once."""
    yield Finding(
        "granted_twice",
        facts.client_id,
        f"{facts.recurring_id} has {facts.grants} grants for the period from {facts.starts_at:%Y-%m-%dT%H:%M:%SZ}",
    )


def check_charge(charge: ChargeFacts) -> Iterator[Finding]:
    """Yield what a charge says against itself, or against a hold of its event."""
    if charge.is_held:
        yield Finding(
            "charged_and_held", charge.event_id, f"of {charge.client_id} is charged, and a hold of it lives"
        )
    late = charge.late_credits or 0
    if not 0 <= late <= -charge.credits or (charge.is_late and late != -charge.credits):
        yield Finding("late_credits", charge.event_id, f"{late} of {-charge.credits} credits are said to be late")


def check_repeated(event: RepeatedEvent) -> Iterator[Finding]:
    """Yield how often an event was charged or is held at once, where that is more than once."""
    if event.lines > 1:
        yield Finding("charged_twice", event.event_id, f"has {event.lines} ledger lines")
    if event.live_holds > 1:
        yield Finding("held_twice", event.event_id, f"has {event.live_holds} live holds")


def describe_old_hold(hold: OldHold, now: datetime) -> Finding:
    """Say how long a hold has been waiting for its caller."""
    seconds = max(0, round((now - hold.held_at).total_seconds()))
    return Finding(
        "hold_unresolved", hold.event_id, f"{hold.credits} credits of {hold.client_id} held for {seconds:,} s"
    )
