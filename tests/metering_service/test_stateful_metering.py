"""The real service, driven at random, against a reference model small enough to be believed.

The model knows policies, holds, ledger and calendar periods, and nothing of batches, locks, SQL or caches. Rates have
no place in it: their clock is Redis' own.

Long because the whole reference model stands here, to be read in one piece.
"""

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import date
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

Result = TypeVar("Result")


@dataclass
class Terms:
    """A client's policy: price of an event, and a quota by day or month."""

    price: int = 0
    is_prepaid: bool = False
    quota: int | None = None
    period: str = "month"


@dataclass
class Hold:
    """A live hold, or the charge that it became, as the model sees it."""

    hold_id: str
    event_id: str
    client_id: str
    credits: int
    day: date


@dataclass
class Account:
    """A client as the model sees it."""

    terms: Terms = field(default_factory=Terms)
    granted: int = 0
    day: date = date.min
    """The day its counters belong to: a clock that went back does not take it back."""


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

    def taken(self, client_id: str, today: date) -> int:
        """Count the events of the client's present period that are held or charged."""
        account = self.accounts[client_id]
        if account.day < (today if account.terms.period == "day" else today.replace(day=1)):
            return 0
        first = account.day if account.terms.period == "day" else account.day.replace(day=1)
        holds = (*self.held.values(), *self.charged.values())
        return sum(hold.client_id == client_id and hold.day >= first for hold in holds)

    def authorize(self, event: dict[str, Any], today: date) -> tuple[str, str | None]:
        """Return the decision and its code."""
        client_id, event_id = event["clientId"], event["eventId"]
        key = client_id, event["holdId"]
        if key in self.released:
            return "conflict", "hold_released"
        if key in self.held and self.held[key].event_id != event_id:
            return "conflict", "hold_of_another_event"
        if self.find_hold_id(event) is not None:
            return "granted", None
        account = self.accounts[client_id]
        terms = account.terms
        if terms.quota is not None and self.taken(client_id, today) >= terms.quota:
            return "denied", "api_quota_exceeded"
        price = terms.price if terms.is_prepaid else 0
        if price > 0 and price > self.available(client_id):
            return "denied", "api_balance_exhausted"
        account.day = max(account.day, today)
        self.held[key] = Hold(event["holdId"], event_id, client_id, price, account.day)
        return "granted", None

    def settle(self, event: dict[str, Any], today: date) -> tuple[str, int | None]:
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
            else:
                account = self.accounts[client_id]
                account.day = max(account.day, today)
                price = account.terms.price if account.terms.is_prepaid else 0
                charge = Hold(event["holdId"], event_id, client_id, price, account.day)
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

    def new_event(self, client_id: str) -> dict[str, Any]:
        event = {"holdId": str(uuid.uuid4()), "eventId": f"e{len(self.events)}{self.suffix}", "clientId": client_id}
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
        return {**event, "clientId": self.name(event["clientId"]), "eventType": "t"}

    clients = st.sampled_from(CLIENTS)
    again = st.lists(
        st.tuples(st.integers(0, 99), st.sampled_from(["same", "same", "further attempt", "other client"])),
        min_size=1,
        max_size=4,
    )
    policy = st.tuples(
        st.sampled_from([1, 2, 3, 0]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([None, None, 2, 5]),
        st.sampled_from(["day", "month"]),
    )

    @initialize(ada=policy, bob=policy, credits=st.integers(2, 6))
    def begin(self, ada: tuple[Any, ...], bob: tuple[Any, ...], credits: int) -> None:
        for client, policy in zip(CLIENTS, (ada, bob), strict=True):
            self.change_policy_of(client, *policy)
            self.grant_to(client, credits)

    @rule(client=clients, policy=policy)
    def change_policy(self, client: str, policy: tuple[Any, ...]) -> None:
        self.change_policy_of(client, *policy)

    def change_policy_of(self, client: str, price: int, prepaid: bool, quota: int | None, period: str) -> None:
        self.reference.accounts[client].terms = Terms(price, prepaid, quota, period)
        terms: dict[str, Any] = {
            "prices": {"t": price},
            "credits": "prepaid" if prepaid else "unlimited",
            "quota": None if quota is None else {"limit": quota, "period": period},
        }
        self.run(self.metering.give(self.name(client), **terms))

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

    @rule(client=clients, count=st.integers(1, 5))
    def authorize_new(self, client: str, count: int) -> None:
        self.authorize([self.new_event(client) for _ in range(count)])

    @precondition(lambda self: self.events)
    @rule(asked=again)
    def authorize_again(self, asked: list[tuple[int, str]]) -> None:
        self.authorize([self.old_event(*each) for each in asked])

    def authorize(self, events: list[dict[str, Any]]) -> None:
        """Authorize events in one call, each of another event and hold: batches have an order of their own."""
        batch = self.distinct(events)
        decisions = self.run(self.metering.authorize(*[self.wire(event) for event in batch]))
        for event, decision in zip(batch, decisions, strict=True):
            expected, code = self.reference.authorize(event, self.clock().date())
            assert (decision["decision"], decision.get("code")) == (expected, code), event
            if expected == "granted":
                assert decision["holdId"] == self.reference.find_hold_id(event)

    @precondition(lambda self: self.events)
    @rule(asked=again)
    def settle(self, asked: list[tuple[int, str]]) -> None:
        batch = self.distinct([self.old_event(*each) for each in asked])
        results = self.run(self.metering.settle(*[self.wire(event) for event in batch]))
        for event, result in zip(batch, results, strict=True):
            assert (result["state"], result.get("credits")) == self.reference.settle(event, self.clock().date()), (
                event
            )

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
            await Metering([client], metering_dsn).admin("PUT", "/internal/policies/open", {})
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
    reference.accounts["ada"].terms = Terms(price=2, is_prepaid=True, quota=1)
    event = {"holdId": "h", "eventId": "e", "clientId": "ada"}
    assert reference.authorize(event, date(2026, 1, 1)) == ("denied", "api_balance_exhausted")
    reference.accounts["ada"].granted = 4
    assert reference.authorize(event, date(2026, 1, 1)) == ("granted", None)
    other = {"holdId": "i", "eventId": "f", "clientId": "ada"}
    assert reference.authorize(other, date(2026, 1, 31)) == ("denied", "api_quota_exceeded")
    assert reference.authorize(other, date(2026, 2, 1)) == ("granted", None)
