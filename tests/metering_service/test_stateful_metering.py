"""The real service, driven at random, against a reference model small enough to be believed.

The model knows policies, holds, ledger and calendar periods, and nothing of batches, locks, SQL or caches. Rates have
no place in it: their clock is Redis' own.

Long because the whole reference model stands here, to be read in one piece.
"""

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Callable, Coroutine
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
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, Metering, MovableClock

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
    """A hold as the model sees it."""

    hold_id: str
    event_id: str
    client_id: str
    state: str
    credits: int
    day: date


@dataclass
class Account:
    """A client as the model sees it."""

    terms: Terms = field(default_factory=Terms)
    granted: int = 0
    day: date = date.min
    """The day its counters belong to: a clock that went back does not take it back."""


class Reference:
    """What metering ought to do, one event at a time."""

    def __init__(self) -> None:
        self.accounts = {client_id: Account() for client_id in CLIENTS}
        self.holds: dict[str, Hold] = {}
        self.over: set[str] = set()
        """Holds released before anybody asked for them."""

    def live(self, event_id: str) -> Hold | None:
        found = (hold for hold in self.holds.values() if hold.event_id == event_id)
        return next((hold for hold in found if hold.state in ("held", "settled")), None)

    def sum(self, client_id: str, *states: str) -> int:
        return sum(
            hold.credits for hold in self.holds.values() if hold.client_id == client_id and hold.state in states
        )

    def available(self, client_id: str) -> int:
        return self.accounts[client_id].granted - self.sum(client_id, "held", "settled")

    def taken(self, client_id: str, today: date) -> int:
        """Count the events of the client's present period that are held or settled."""
        account = self.accounts[client_id]
        if account.day < (today if account.terms.period == "day" else today.replace(day=1)):
            return 0
        first = account.day if account.terms.period == "day" else account.day.replace(day=1)
        of_client = (hold for hold in self.holds.values() if hold.client_id == client_id)
        return sum(hold.state in ("held", "settled") and hold.day >= first for hold in of_client)

    def authorize(self, event: dict[str, Any], today: date) -> tuple[str, str | None]:
        """Return the decision and its code."""
        known = self.holds.get(event["holdId"])
        if event["holdId"] in self.over or (known is not None and known.state == "released"):
            return "conflict", "hold_released"
        if known is not None and (known.event_id, known.client_id) != (event["eventId"], event["clientId"]):
            return "conflict", "hold_of_another_event"
        live = self.live(event["eventId"])
        if live is not None:
            return (
                ("granted", None) if live.client_id == event["clientId"] else ("conflict", "event_with_other_content")
            )
        account = self.accounts[event["clientId"]]
        terms = account.terms
        if terms.quota is not None and self.taken(event["clientId"], today) >= terms.quota:
            return "denied", "api_quota_exceeded"
        price = terms.price if terms.is_prepaid else 0
        if price > 0 and price > self.available(event["clientId"]):
            return "denied", "api_balance_exhausted"
        account.day = max(account.day, today)
        self.holds[event["holdId"]] = Hold(
            event["holdId"], event["eventId"], event["clientId"], "held", price, account.day
        )
        return "granted", None

    def settle(self, event: dict[str, Any], today: date) -> tuple[str, int | None]:
        """Return the state and what it cost."""
        known, live = self.holds.get(event["holdId"]), self.live(event["eventId"])
        if (known is not None and (known.event_id, known.client_id) != (event["eventId"], event["clientId"])) or (
            live is not None and live.client_id != event["clientId"]
        ):
            return "conflict", None
        if live is not None and live.state == "settled":
            return "settled", live.credits
        account = self.accounts[event["clientId"]]
        account.day = max(account.day, today)
        if live is not None:
            live.state = "settled"
            return "settled", live.credits
        if known is None:
            price = account.terms.price if account.terms.is_prepaid else 0
            known = Hold(event["holdId"], event["eventId"], event["clientId"], "settled", price, account.day)
            self.over.discard(event["holdId"])
            self.holds[event["holdId"]] = known
        known.state, known.day = "settled", account.day
        return "settled", known.credits

    def release(self, hold_id: str) -> str:
        known = self.holds.get(hold_id)
        if known is None:
            self.over.add(hold_id)
        elif known.state == "held":
            known.state = "released"
        return "settled" if known is not None and known.state == "settled" else "released"


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
            live = self.reference.live(event["eventId"])
            if expected == "granted" and live is not None:
                assert decision["holdId"] == live.hold_id

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
        hold_ids = [self.events[number % len(self.events)]["holdId"] for number in numbers]
        if is_unknown:
            hold_ids.append(str(uuid.uuid4()))
            self.events.append({"holdId": hold_ids[-1], "eventId": f"u{hold_ids[-1]}", "clientId": CLIENTS[0]})
        states = self.run(self.metering.release(*hold_ids))
        assert states == [self.reference.release(hold_id) for hold_id in hold_ids]

    @rule(hours=st.sampled_from([1, 5, 24, 24 * 9]))
    def let_time_pass(self, hours: int) -> None:
        self.clock.advance(hours=hours)

    @rule()
    def set_the_clock_back(self) -> None:
        self.clock.advance(hours=-2)

    @invariant()
    def totals_are_the_references(self) -> None:
        for client, account in self.reference.accounts.items():
            spent, held = self.reference.sum(client, "settled"), self.reference.sum(client, "held")
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
    clock = MovableClock()
    keys = tuple(
        f"{scope}:{hashlib.sha256(key.encode()).hexdigest()}"
        for scope, key in (("events", EVENTS_KEY), ("admin", ADMIN_KEY))
    )
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
