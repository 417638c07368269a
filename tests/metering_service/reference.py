"""What metering ought to do, in plain Python and small enough to be believed: the reference of the stateful test.

It knows policies, limits, grants, holds, ledger and calendar periods, and nothing of batches, locks, SQL or caches.
Rates have no place in it: their clock is Redis' own.

Long because the whole reference model stands here, to be read in one piece.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Limit:
    """A quota. `most` is limit and overage, None for no end."""

    name: str
    limit: int
    overage: int | None
    counts: str
    period: str
    per: str
    types: tuple[str, ...]

    @property
    def most(self) -> int | None:
        return None if self.overage is None else self.limit + self.overage

    def count(self, units: int, credits: int) -> int:
        return {"events": 1, "units": units, "credits": credits}[self.counts]

    def counter(self, user: str | None, moment: datetime) -> "Counter":
        """Return what an event counts in: it goes on whatever becomes of the limit's number."""
        whose = user or "" if self.per == "user" else None
        return (self.name, self.counts, self.period, self.types, whose, begin(self.period, moment))

    def wire(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "limit": self.limit,
            "overage": "unlimited" if self.overage is None else self.overage,
            "counts": self.counts,
            "period": self.period,
            "per": self.per,
            "eventTypes": list(self.types),
        }


Counter = tuple[Any, ...]


def begin(period: str, moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[period]


@dataclass(frozen=True)
class Terms:
    """A client's policy. `floor` is how far down what is available may go, None where credits are not asked for."""

    price: int = 0
    sells_all: bool = True
    floor: int | None = None
    limits: tuple[Limit, ...] = ()
    thresholds: tuple[tuple[str, int], ...] = ()
    """Percent of a limit by its name, credits of the "balance"; those of what the terms do not have are left out."""

    @property
    def notices(self) -> list[tuple[str, int]]:
        named = {limit.name for limit in self.limits} | ({"balance"} if self.floor is not None else set())
        return [(of, at) for of, at in self.thresholds if of in named]

    def cost(self, event_type: str, units: int) -> int | None:
        """Return the credits of an event, None where it is not sold."""
        price = self.price if event_type == "t" else 1 if self.sells_all else None
        return None if price is None else 0 if self.floor is None else price * units


@dataclass
class Hold:
    """A live hold, or the charge that it became, as the model sees it: its counters, each with what it takes."""

    hold_id: str
    event_id: str
    client_id: str
    units: int
    credits: int
    counted: dict[Counter, Limit]
    at: datetime = EPOCH
    terms: Terms = field(default_factory=Terms)
    refunded: int = 0

    def takes(self, counter: Counter) -> int:
        limit = self.counted.get(counter)
        return 0 if limit is None else limit.count(self.units, self.credits)


@dataclass
class Lot:
    """Credits that were given: a grant, a refund, a correction up. `pins`: what holds may spend of an ended one."""

    name: str
    kind: str
    credits: int
    begins: datetime
    ends: datetime
    priority: int
    number: int
    series: str | None = None
    state: str = "booked"
    left: int = 0
    pins: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> tuple[Any, ...]:
        return self.priority, self.ends, self.begins, self.number


@dataclass
class Series:
    """Grants that come again: `next` is the number of the first period, from `begins` on, that has none."""

    credits: int
    days: int
    begins: datetime
    ends: datetime
    expires: bool
    rollover: int
    next: int = 0

    @property
    def next_at(self) -> datetime:
        at = self.begins + timedelta(days=self.days * self.next)
        return at if at < self.ends else FOR_GOOD


@dataclass
class Account:
    """A client as the model sees it. `owed` is what was spent and not taken from a lot yet, event by event.

    `payers` are the lots that paid for an event.
    """

    terms: Terms = field(default_factory=Terms)
    granted: int = 0
    adjusted: int = 0
    expired: int = 0
    owed: list[tuple[str, int]] = field(default_factory=list)
    payers: dict[str, dict[str, int]] = field(default_factory=dict)
    lots: list[Lot] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    last_at: datetime = EPOCH
    """The moment of its last decision or change of policy: a clock that went back does not take it back."""
    spent: int = 0
    reached: set[tuple[Any, int]] = field(default_factory=set)
    """Thresholds of counters, and of the balance those that it has not risen above since."""
    told: list[tuple[str, int]] = field(default_factory=list)

    @property
    def unspent(self) -> int:
        return self.granted + self.adjusted - self.expired - self.spent

    def tell(self, kind: str, what: Any, at: int) -> None:
        if (what, at) not in self.reached:
            self.reached.add((what, at))
            self.told.append((kind, at))

    def live(self) -> list[Lot]:
        return sorted((lot for lot in self.lots if lot.state == "live"), key=lambda lot: lot.place)

    def give(self, name: str, kind: str, credits: int, begins: datetime, **options: Any) -> None:
        terms = {"ends": FOR_GOOD, "priority": 50, **options}
        self.lots.append(Lot(name, kind, credits, begins, number=len(self.lots), **terms))

    def begin(self, at: datetime) -> None:
        for lot in self.lots:
            if lot.state == "booked" and lot.begins <= at:
                lot.state, lot.left = "live", lot.credits
                if lot.kind == "adjust":
                    self.adjusted += lot.credits
                else:
                    self.granted += lot.credits
        self.reached -= {(what, limit) for what, limit in self.reached if what == "" and limit < self.unspent}

    def take(self, credits: int, event_id: str = "") -> int:
        """Take credits from the lots; return how many there were not."""
        for lot in self.live():
            taken = min(lot.left, credits)
            lot.left -= taken
            credits -= taken
            lot.state = "live" if lot.left else "used"
            self.note(event_id, lot, taken)
        return credits

    def note(self, event_id: str, lot: Lot, credits: int) -> None:
        paid = self.payers.setdefault(event_id, {})
        if credits:
            paid[lot.name] = paid.get(lot.name, 0) + credits

    def pay(self) -> None:
        """Take what is owed from the lots, the oldest first."""
        owed = [(event_id, self.take(credits, event_id)) for event_id, credits in self.owed]
        self.owed = [(event_id, credits) for event_id, credits in owed if credits]

    def payers_of(self, event_id: str) -> dict[str, int]:
        after = deepcopy(self)
        after.pay()
        return after.payers.get(event_id, {})

    def lay_holds(self, holds: Iterable["Hold"]) -> dict[int, dict[str, int]]:
        """Return what of each lot is for which hold, the oldest first."""
        lots = self.live()
        free = {lot.number: lot.left for lot in lots}
        lying: dict[int, dict[str, int]] = {lot.number: {} for lot in lots}
        for hold in sorted(holds, key=lambda hold: (hold.at, hold.hold_id)):
            wanted = hold.credits - sum(lot.pins.get(hold.hold_id, 0) for lot in self.lots)
            for lot in lots:
                part = min(wanted, free[lot.number])
                if part:
                    lying[lot.number][hold.hold_id] = part
                free[lot.number] -= part
                wanted -= part
        return lying

    def end(self, lot: Lot, state: str, holds: Iterable["Hold"]) -> int:
        """End a live lot: what no hold lies on lapses. Return how much that is."""
        lot.pins = self.lay_holds(holds)[lot.number]
        lapsed = lot.left - sum(lot.pins.values())
        lot.state, lot.left = state, 0
        self.expired += lapsed
        return lapsed

    def open(self, holds: Iterable["Hold"]) -> list[tuple[str, str, int]]:
        """Return name, state and what is left of each lot that something is left of, in their order."""
        after = deepcopy(self)
        after.pay()
        lying = after.lay_holds(holds)
        left = {lot.number: lot.left - sum(lying.get(lot.number, {}).values()) for lot in after.lots}
        left |= {lot.number: lot.credits for lot in self.lots if lot.state == "booked"}
        lots = sorted(self.lots, key=lambda lot: lot.place)
        return [(lot.name, lot.state, left[lot.number]) for lot in lots if left[lot.number]]

    def move(self, now: datetime, holds: list["Hold"]) -> datetime:
        """Do what was due until now, moment by moment; return the moment."""
        now = max(now, self.last_at)
        while True:
            ends = [lot.ends for lot in self.lots if lot.state == "live"]
            begins = [lot.begins for lot in self.lots if lot.state == "booked"]
            at = min([*ends, *begins, *(series.next_at for series in self.series.values()), FOR_GOOD])
            if at > now:
                return now
            self.pay()
            left_over: dict[str | None, int] = {}
            for lot in [lot for lot in self.live() if lot.ends <= at]:
                left_over[lot.series] = self.end(lot, "expired", holds)
            for name, series in sorted(self.series.items()):
                if series.next_at <= at:
                    self.begin_period(name, series, left_over.get(name, 0))
            self.begin(at)

    def begin_period(self, name: str, series: Series, left_over: int) -> None:
        at = series.next_at
        series.next += 1
        self.give(
            f"{name}:{at:%Y-%m-%dT%H:%M:%SZ}",
            "grant",
            series.credits + min(series.rollover, left_over),
            at,
            ends=at + timedelta(days=series.days) if series.expires else FOR_GOOD,
            series=name,
        )

    def resolve(self, hold: "Hold", price: int) -> None:
        """Charge a hold's price, 0 for one that is released: what was pinned for it pays first, and lapses else."""
        for lot in self.lots:
            pinned = lot.pins.pop(hold.hold_id, 0)
            paid = min(pinned, price)
            price -= paid
            self.expired += pinned - paid
            self.note(hold.event_id, lot, paid)
        self.owed.append((hold.event_id, price))


Key = tuple[str, str]
"""A client and one of its holds or events."""


class Reference:
    """What metering ought to do, one event at a time. Ids are each client's own."""

    def __init__(self, client_ids: Iterable[str]) -> None:
        self.accounts = {client_id: Account() for client_id in client_ids}
        self.held: dict[Key, Hold] = {}
        """By hold id."""
        self.released: dict[Key, str] = {}
        """The event of each hold that was released, before or after anybody asked for it."""
        self.charged: dict[Key, Hold] = {}
        """By event id."""

    def find_held(self, event: dict[str, Any]) -> Hold | None:
        ids = event["clientId"], event["eventId"]
        return next((hold for hold in self.held.values() if (hold.client_id, hold.event_id) == ids), None)

    def find_hold_id(self, event: dict[str, Any]) -> str | None:
        hold = self.charged.get((event["clientId"], event["eventId"])) or self.find_held(event)
        return None if hold is None else hold.hold_id

    def sum(self, client_id: str, holds: Iterable[Hold]) -> int:
        return sum(hold.credits for hold in holds if hold.client_id == client_id)

    def spent_and_held(self, client_id: str) -> tuple[int, int]:
        return self.sum(client_id, self.charged.values()), self.sum(client_id, self.held.values())

    def available(self, client_id: str) -> int:
        account = self.accounts[client_id]
        return account.granted + account.adjusted - account.expired - sum(self.spent_and_held(client_id))

    def holds_of(self, client_id: str) -> list[Hold]:
        return [hold for hold in self.held.values() if hold.client_id == client_id]

    def move(self, client_id: str, now: datetime) -> datetime:
        return self.accounts[client_id].move(now, self.holds_of(client_id))

    def grant(
        self,
        client_id: str,
        name: str,
        credits: int,
        now: datetime,
        *,
        begins: datetime | None,
        ends: datetime | None,
    ) -> None:
        moment = self.move(client_id, now)
        account = self.accounts[client_id]
        account.pay()
        account.give(name, "grant", credits, begins or moment, ends=ends or FOR_GOOD)
        account.begin(moment)

    def adjust(self, client_id: str, name: str, credits: int, now: datetime) -> bool:
        """Correct an account; return whether so much was available."""
        moment = self.move(client_id, now)
        account = self.accounts[client_id]
        if self.available(client_id) + credits < 0 and credits < 0:
            return False
        account.pay()
        if credits > 0:
            account.give(name, "adjust", credits, moment)
            account.begin(moment)
        else:
            account.adjusted += credits
            assert account.take(-credits) == 0
        return True

    def void(self, client_id: str, name: str, now: datetime) -> int:
        """Return the status of the call."""
        self.move(client_id, now)
        account = self.accounts[client_id]
        account.pay()
        lot = next((lot for lot in account.lots if (lot.kind, lot.name) == ("grant", name)), None)
        if lot is None:
            return 404
        if lot.state in ("used", "expired"):
            return 409
        if lot.state == "live":
            account.end(lot, "voided", self.holds_of(client_id))
        lot.state = "voided"
        return 200

    def refund(self, client_id: str, name: str, event_id: str, credits: int, now: datetime) -> int:
        """Return the status of the call."""
        moment = self.move(client_id, now)
        charge = self.charged.get((client_id, event_id))
        if charge is None:
            return 404
        if credits > charge.credits - charge.refunded:
            return 409
        charge.refunded += credits
        account = self.accounts[client_id]
        account.pay()
        account.give(name, "refund", credits, moment)
        account.begin(moment)
        return 200

    def repeat(self, client_id: str, name: str, series: Series, now: datetime) -> None:
        moment = self.move(client_id, now)
        while series.next_at <= moment - timedelta(days=series.days):
            series.next += 1
        self.accounts[client_id].series[name] = series
        self.move(client_id, now)

    def used_and_held(self, client_id: str, counter: Counter) -> tuple[int, int]:
        used, held = (
            sum(hold.takes(counter) for hold in holds.values() if hold.client_id == client_id)
            for holds in (self.charged, self.held)
        )
        return used, held

    def counters(self, event: dict[str, Any], moment: datetime) -> dict[Counter, Limit]:
        limits = self.accounts[event["clientId"]].terms.limits
        return {
            limit.counter(event.get("userId"), moment): limit
            for limit in limits
            if event["eventType"] in limit.types or "*" in limit.types
        }

    def authorize(self, event: dict[str, Any], now: datetime) -> tuple[str, str | None]:
        """Return the decision and its code."""
        client_id, event_id, units = event["clientId"], event["eventId"], event["units"]
        moment = self.move(client_id, now)
        key = client_id, event["holdId"]
        if key in self.released:
            return "conflict", "hold_released"
        if key in self.held and self.held[key].event_id != event_id:
            return "conflict", "hold_of_another_event"
        if self.find_hold_id(event) is not None:
            return "granted", None
        account = self.accounts[client_id]
        cost = account.terms.cost(event["eventType"], units)
        if cost is None:
            return "denied", "event_type_not_sold"
        counters = self.counters(event, moment)
        for counter, limit in counters.items():
            taken = sum(self.used_and_held(client_id, counter))
            if limit.most is not None and taken + limit.count(units, cost) > limit.most:
                return "denied", "api_quota_exceeded"
        if cost > 0 and self.available(client_id) - cost < (account.terms.floor or 0):
            return "denied", "api_balance_exhausted"
        account.last_at = moment
        self.held[key] = Hold(event["holdId"], event_id, client_id, units, cost, counters, moment, account.terms)
        return "granted", None

    def settle(
        self, event: dict[str, Any], now: datetime, units: int, happened_at: datetime
    ) -> tuple[str, int | None]:
        """Return the state and what it cost."""
        client_id, event_id = event["clientId"], event["eventId"]
        self.move(client_id, now)
        hold = self.held.get((client_id, event["holdId"]))
        if hold is not None and hold.event_id != event_id:
            return "conflict", None
        charge = self.charged.get((client_id, event_id))
        if charge is None:
            charge = self.find_held(event)
            if charge is not None:
                del self.held[client_id, charge.hold_id]
                charge.credits = charge.credits // charge.units * units
                charge.units = units
                self.accounts[client_id].resolve(charge, charge.credits)
            else:
                account = self.accounts[client_id]
                account.last_at = max(now, account.last_at)
                cost = account.terms.cost(event["eventType"], units) or 0
                counters = self.counters(event, account.last_at)
                # Of a period that is over nothing counts.
                present = {key: limit for key, limit in counters.items() if key[-1] <= happened_at}
                charge = Hold(event["holdId"], event_id, client_id, units, cost, present, terms=account.terms)
                account.owed.append((event_id, cost))
            self.charged[client_id, event_id] = charge
            self.tell(charge)
        return "settled", charge.credits

    def tell(self, charge: Hold) -> None:
        """Note the thresholds that a charge has reached."""
        account = self.accounts[charge.client_id]
        account.spent += charge.credits
        for of, at in charge.terms.notices:
            if of == "balance" and account.unspent <= at:
                account.tell("balance", "", at)
            for counter, limit in charge.counted.items():
                used, _ = self.used_and_held(charge.client_id, counter)
                if limit.name == of and used > 0 and 100 * used >= at * limit.limit:
                    account.tell("quota", counter, at)

    def release(self, event: dict[str, Any], now: datetime) -> str:
        self.move(event["clientId"], now)
        key = event["clientId"], event["holdId"]
        hold = self.held.get(key)
        told = hold.event_id if hold is not None else self.released.get(key)
        if told is not None and told != event["eventId"]:
            return "conflict"
        charge = self.charged.get((event["clientId"], event["eventId"]))
        if told is None and charge is not None and charge.hold_id == event["holdId"]:
            return "settled"
        if hold is not None:
            self.accounts[hold.client_id].resolve(hold, 0)
        self.held.pop(key, None)
        self.released[key] = event["eventId"]
        return "released"
