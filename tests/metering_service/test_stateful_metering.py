"""The real service, driven at random, against a reference model small enough to be believed.

The model knows policies, limits, holds, ledger and calendar periods, and nothing of batches, locks, SQL or caches.
Rates have no place in it: their clock is Redis' own.

Long because the whole reference model stands here, to be read in one piece.
"""

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from metering_service.app import create_app
from metering_service.settings import MeteringSettings
from tests.metering_service.conftest import ADMIN_KEY, SERVICE_KEYS, Metering, MovableClock

CLIENTS = ("ada", "bob")
EXAMPLES = 50
STEPS = 40
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Result = TypeVar("Result")


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

    def takes(self, counter: Counter) -> int:
        limit = self.counted.get(counter)
        return 0 if limit is None else limit.count(self.units, self.credits)


@dataclass
class Account:
    """A client as the model sees it."""

    terms: Terms = field(default_factory=Terms)
    granted: int = 0
    last_at: datetime = EPOCH
    """The moment of its last decision or change of policy: a clock that went back does not take it back."""


Key = tuple[str, str]
"""A client and one of its holds or events."""


class Reference:
    """What metering ought to do, one event at a time. Ids are each client's own."""

    def __init__(self) -> None:
        self.accounts = {client_id: Account() for client_id in CLIENTS}
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
        return self.accounts[client_id].granted - sum(self.spent_and_held(client_id))

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
        moment = max(now, account.last_at)
        counters = self.counters(event, moment)
        for counter, limit in counters.items():
            taken = sum(self.used_and_held(client_id, counter))
            if limit.most is not None and taken + limit.count(units, cost) > limit.most:
                return "denied", "api_quota_exceeded"
        if cost > 0 and self.available(client_id) - cost < (account.terms.floor or 0):
            return "denied", "api_balance_exhausted"
        account.last_at = moment
        self.held[key] = Hold(event["holdId"], event_id, client_id, units, cost, counters)
        return "granted", None

    def settle(
        self, event: dict[str, Any], now: datetime, units: int, happened_at: datetime
    ) -> tuple[str, int | None]:
        """Return the state and what it cost."""
        client_id, event_id = event["clientId"], event["eventId"]
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
            else:
                account = self.accounts[client_id]
                account.last_at = max(now, account.last_at)
                cost = account.terms.cost(event["eventType"], units) or 0
                counters = self.counters(event, account.last_at)
                # Of a period that is over nothing counts.
                present = {key: limit for key, limit in counters.items() if key[-1] <= happened_at}
                charge = Hold(event["holdId"], event_id, client_id, units, cost, present)
            self.charged[client_id, event_id] = charge
        return "settled", charge.credits

    def release(self, event: dict[str, Any]) -> str:
        key = event["clientId"], event["holdId"]
        hold = self.held.get(key)
        told = hold.event_id if hold is not None else self.released.get(key)
        if told is not None and told != event["eventId"]:
            return "conflict"
        charge = self.charged.get((event["clientId"], event["eventId"]))
        if told is None and charge is not None and charge.hold_id == event["holdId"]:
            return "settled"
        self.held.pop(key, None)
        self.released[key] = event["eventId"]
        return "released"


class MeteringMachine(RuleBasedStateMachine):
    """Sends the same to the service and to the reference, and compares every answer and every total."""

    run: Callable[[Coroutine[Any, Any, Result]], Result]  # set by the test
    metering: Metering
    clock: MovableClock
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        # Each example has clients of its own in one database: that is quicker than a database each.
        self.suffix = f"-{next(self.numbers)}"
        self.reference = Reference()
        self.events: list[dict[str, Any]] = []
        self.references = itertools.count(1)

    def name(self, client_id: str) -> str:
        return client_id + self.suffix

    def new_event(self, client_id: str, kind: tuple[str, str | None, int] = ("t", None, 1)) -> dict[str, Any]:
        event_type, user, units = kind
        event = {
            "holdId": str(uuid.uuid4()),
            "eventId": f"e{len(self.events)}{self.suffix}",
            "clientId": client_id,
            "eventType": event_type,
            "units": units,
            **({"userId": user} if user else {}),
        }
        self.events.append(event)
        return event

    def old_event(self, number: int, how: str) -> dict[str, Any]:
        """Say an event again: the same attempt, a further one, or one of the other client by mistake."""
        event = dict(self.events[number % len(self.events)])
        if how == "further attempt":
            event["holdId"] = str(uuid.uuid4())
            self.events.append(event)
        elif how == "other client":
            event["clientId"] = next(client_id for client_id in CLIENTS if client_id != event["clientId"])
        return event

    def wire(self, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "clientId": self.name(event["clientId"])}

    clients = st.sampled_from(CLIENTS)
    again = st.lists(
        st.tuples(st.integers(0, 99), st.sampled_from(["same", "same", "further attempt", "other client"])),
        min_size=1,
        max_size=4,
    )
    kinds = st.tuples(st.sampled_from("ttu"), st.sampled_from([None, "ann"]), st.integers(1, 3))
    limits = st.lists(
        st.builds(
            Limit,
            st.sampled_from("ab"),
            st.sampled_from([2, 5, 8]),
            st.sampled_from([0, 0, 2, None]),
            st.sampled_from(["events", "units", "credits"]),
            st.sampled_from(["day", "week", "month"]),
            st.sampled_from(["client", "user"]),
            st.sampled_from([("*",), ("t",), ("u",)]),
        ),
        max_size=2,
        unique_by=lambda limit: limit.name,
    ).map(tuple)
    policy = st.builds(
        Terms,
        st.sampled_from([1, 2, 3, 0]),
        st.sampled_from([True, True, False]),
        st.sampled_from([0, 0, -3, None]),
        limits,
    )

    @initialize(ada=policy, bob=policy, credits=st.integers(2, 6))
    def begin(self, ada: Terms, bob: Terms, credits: int) -> None:
        for client, terms in zip(CLIENTS, (ada, bob), strict=True):
            self.change_policy(client, terms)
            self.grant_to(client, credits)

    @rule(client=clients, terms=policy)
    def change_policy(self, client: str, terms: Terms) -> None:
        account = self.reference.accounts[client]
        account.terms = terms
        account.last_at = max(account.last_at, self.clock())
        credits: Any = "unlimited" if terms.floor is None else "prepaid"
        if terms.floor:
            credits = {"overdraft": -terms.floor}
        prices = {"t": terms.price, **({"*": 1} if terms.sells_all else {})}
        quotas = [limit.wire() for limit in terms.limits]
        self.run(self.metering.give(self.name(client), prices=prices, credits=credits, quotas=quotas))

    @rule(client=clients, credits=st.integers(1, 4))
    def grant(self, client: str, credits: int) -> None:
        self.grant_to(client, credits)

    def grant_to(self, client: str, credits: int) -> None:
        self.reference.accounts[client].granted += credits
        body = {"grantId": f"g{next(self.references)}", "credits": credits}
        self.run(self.metering.admin("POST", f"/internal/clients/{self.name(client)}/grants", body))

    @rule(client=clients, credits=st.integers(-5, -1))
    def adjust(self, client: str, credits: int) -> None:
        fits = self.reference.available(client) + credits >= 0
        body = {"adjustmentId": f"a{next(self.references)}", "credits": credits, "reason": "test"}
        path = f"/internal/clients/{self.name(client)}/adjustments"
        status, _ = self.run(self.metering.call("POST", path, body, key=ADMIN_KEY))
        assert status == (200 if fits else 409)
        if fits:
            self.reference.accounts[client].granted += credits

    @rule(client=clients, kinds=st.lists(kinds, min_size=1, max_size=5))
    def authorize_new(self, client: str, kinds: list[tuple[str, str | None, int]]) -> None:
        self.authorize([self.new_event(client, kind) for kind in kinds])

    @precondition(lambda self: self.events)
    @rule(asked=again)
    def authorize_again(self, asked: list[tuple[int, str]]) -> None:
        self.authorize([self.old_event(*each) for each in asked])

    def authorize(self, events: list[dict[str, Any]]) -> None:
        """Authorize events in one call, each of another event and hold: batches have an order of their own."""
        batch = self.distinct(events)
        decisions = self.run(self.metering.authorize(*[self.wire(event) for event in batch]))
        for event, decision in zip(batch, decisions, strict=True):
            expected, code = self.reference.authorize(event, self.clock())
            assert (decision["decision"], decision.get("code")) == (expected, code), event
            if expected == "granted":
                assert decision["holdId"] == self.reference.find_hold_id(event)

    @precondition(lambda self: self.events)
    @rule(asked=again, units=st.sampled_from([None, None, 0, 1, 3, 5]), days_ago=st.sampled_from([0, 0, 3, 40]))
    def settle(self, asked: list[tuple[int, str]], units: int | None, days_ago: int) -> None:
        batch = self.distinct([self.old_event(*each) for each in asked])
        happened_at = self.clock() - timedelta(days=days_ago)
        facts = [{**event, "units": event["units"] if units is None else units} for event in batch]
        told = [{**self.wire(fact), "happenedAt": happened_at.isoformat().replace("+00:00", "Z")} for fact in facts]
        results = self.run(self.metering.settle(*told))
        for fact, result in zip(facts, results, strict=True):
            expected = self.reference.settle(fact, self.clock(), fact["units"], happened_at)
            assert (result["state"], result.get("credits")) == expected, fact

    @precondition(lambda self: self.events)
    @rule(numbers=st.lists(st.integers(0, 99), min_size=1, max_size=2), is_unknown=st.booleans())
    def release(self, numbers: list[int], is_unknown: bool) -> None:
        batch = [self.events[number % len(self.events)] for number in dict.fromkeys(numbers)]
        batch = list({(event["clientId"], event["holdId"]): event for event in batch}.values())
        if is_unknown:
            batch.append(self.new_event(CLIENTS[0]))
        states = self.run(self.metering.release(*[self.wire(event) for event in batch]))
        assert states == [self.reference.release(event) for event in batch]

    @rule(hours=st.sampled_from([1, 5, 24, 24 * 9]))
    def let_time_pass(self, hours: int) -> None:
        self.clock.advance(hours=hours)

    @rule()
    def set_the_clock_back(self) -> None:
        """The database's: nothing is decided before an account's last moment."""
        self.clock.advance(hours=-2)

    @invariant()
    def totals_are_the_references(self) -> None:
        for client, account in self.reference.accounts.items():
            spent, held = self.reference.spent_and_held(client)
            expected = (account.granted, spent, held, account.granted - spent - held)
            assert self.run(self.metering.balance(self.name(client))) == expected
            self.quotas_are_the_references(client, account)

    def quotas_are_the_references(self, client: str, account: Account) -> None:
        path = f"/internal/clients/{self.name(client)}/quota?userId=ann"
        moment = max(self.clock(), account.last_at)
        for quota, limit in zip(
            self.run(self.metering.admin("GET", path))["quotas"], account.terms.limits, strict=True
        ):
            expected = self.reference.used_and_held(client, limit.counter("ann", moment))
            assert (quota["used"], quota["held"]) == expected, limit

    def distinct(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen: list[dict[str, Any]] = []
        for event in events:
            ids = {event["eventId"], event["holdId"]}
            if not any(ids & {other["eventId"], other["holdId"]} for other in chosen):
                chosen.append(event)
        # Within a call the service decides client by client, each client's events in their order.
        return sorted(chosen, key=lambda event: str(event["clientId"]))


def test_service_does_what_the_reference_does(metering_dsn: str, redis_url: str) -> None:
    clock = MovableClock(metering_dsn)
    keys = tuple(f"{scope}:{name}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, name, key in SERVICE_KEYS)
    # The default policy has a rate; a client that no rule gave a policy yet must not meet it.
    settings_of_service = MeteringSettings(
        postgres_dsn=metering_dsn, redis_url=redis_url, service_keys=keys, default_policy="open"
    )
    with asyncio.Runner() as runner:

        async def start() -> TestClient[Any, Any]:
            client = TestClient(TestServer(create_app(settings_of_service, clock=clock)))
            await client.start_server()
            await Metering([client], metering_dsn).admin("PUT", "/internal/policies/open", {"prices": {"*": 0}})
            return client

        client = runner.run(start())
        machine = type(
            "Machine",
            (MeteringMachine,),
            {"run": staticmethod(runner.run), "metering": Metering([client], metering_dsn), "clock": clock},
        )
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(client.close())
            clock.close()


def test_reference_denies_what_it_should() -> None:
    reference = Reference()
    limit = Limit("a", 2, 0, "units", "month", "client", ("*",))
    reference.accounts["ada"].terms = Terms(price=2, floor=0, limits=(limit,))
    event = {"holdId": "h", "eventId": "e", "clientId": "ada", "eventType": "t", "units": 2}
    january = datetime(2026, 1, 1, tzinfo=UTC)
    assert reference.authorize(event, january) == ("denied", "api_balance_exhausted")
    reference.accounts["ada"].granted = 6
    assert reference.authorize(event, january) == ("granted", None)
    other = {**event, "holdId": "i", "eventId": "f", "units": 1}
    assert reference.authorize(other, january.replace(day=31)) == ("denied", "api_quota_exceeded")
    assert reference.settle(event, january, 1, january) == ("settled", 2)
    assert reference.authorize(other, january.replace(day=31)) == ("granted", None)
    assert reference.authorize({**other, "holdId": "j", "eventId": "g"}, january.replace(month=2)) == (
        "granted",
        None,
    )
