"""The real service, driven at random, against a reference model small enough to be believed.

Long because one machine has all the rules: what happens to one client in any order is what is tried.
"""

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
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

from metering_service import components
from metering_service.app import create_app
from metering_service.audit.run import audit_ledger
from metering_service.settings import MeteringSettings
from service_chassis.cli.audit_report import AuditReport
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import ADMIN_KEY, SERVICE_KEYS, Metering
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.reference import FOR_GOOD, Account, Limit, Reference, Series, Terms

CLIENTS = ("ada", "bob")
EXAMPLES, MORE_EXAMPLES = 3, 50
STEPS = 40

Result = TypeVar("Result")


def wire(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


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
        self.reference = Reference(CLIENTS)
        self.events: list[dict[str, Any]] = []
        self.references = itertools.count(1)
        self.is_unread = False

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
        st.sampled_from([(), (("a", 50), ("a", 100), ("balance", 2)), (("b", 80), ("balance", 3), ("balance", 0))]),
    )

    @initialize(ada=policy, bob=policy, credits=st.integers(2, 6))
    def begin(self, ada: Terms, bob: Terms, credits: int) -> None:
        for client, terms in zip(CLIENTS, (ada, bob), strict=True):
            self.change_policy(client, terms)
            self.grant(client, credits, None, None)

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
        notices: dict[str, list[float]] = {}
        for of, at in terms.notices:
            name, number = (of, at) if of == "balance" else (f"quota:{of}", at / 100)
            notices.setdefault(name, []).append(number)
        told = [{"of": of, "at": at} for of, at in notices.items()]
        self.run(self.metering.give(self.name(client), prices=prices, credits=credits, quotas=quotas, notices=told))

    @rule(
        client=clients,
        credits=st.integers(1, 4),
        begins_in=st.sampled_from([None, None, -3, 6, 30]),
        lasts=st.sampled_from([None, 8, 30, 200]),
    )
    def grant(self, client: str, credits: int, begins_in: int | None, lasts: int | None) -> None:
        moment = self.reference.move(client, self.clock())
        begins = None if begins_in is None else moment + timedelta(hours=begins_in)
        ends = None if lasts is None else (begins or moment) + timedelta(hours=lasts)
        name = f"g{next(self.references)}"
        body = {"grantId": name, "credits": credits, "effectiveAt": wire(begins), "expiresAt": wire(ends)}
        self.run(self.metering.admin("POST", f"/internal/clients/{self.name(client)}/grants", body))
        self.reference.grant(client, name, credits, self.clock(), begins=begins, ends=ends)

    @rule(client=clients, credits=st.integers(-5, 3).filter(bool))
    def adjust(self, client: str, credits: int) -> None:
        name = f"a{next(self.references)}"
        fits = self.reference.adjust(client, name, credits, self.clock())
        body = {"adjustmentId": name, "credits": credits, "reason": "test"}
        assert self.post(client, "adjustments", body) == (200 if fits else 409)

    @rule(client=clients, number=st.integers(0, 9))
    def void(self, client: str, number: int) -> None:
        lots = self.reference.accounts[client].lots
        name = lots[number % len(lots)].name
        assert self.post(client, f"grants/{name}/void", {"reason": "test"}) == (
            self.reference.void(client, name, self.clock())
        )

    @precondition(lambda self: self.events)
    @rule(number=st.integers(0, 99), credits=st.integers(1, 3))
    def refund(self, number: int, credits: int) -> None:
        event = self.events[number % len(self.events)]
        client, name = event["clientId"], f"r{next(self.references)}"
        body = {"refundId": name, "eventId": event["eventId"], "credits": credits, "reason": "test"}
        status = self.post(client, "refunds", body)
        assert status == self.reference.refund(client, name, event["eventId"], credits, self.clock())

    @rule(
        client=clients,
        credits=st.integers(1, 3),
        days=st.sampled_from([1, 7]),
        begins_in=st.sampled_from([-400, -30, 5]),
        lasts=st.sampled_from([None, 400]),
        rollover=st.sampled_from([0, 0, 2]),
        expires=st.booleans(),
    )
    def grant_again_and_again(
        self, client: str, credits: int, days: int, begins_in: int, lasts: int | None, rollover: int, expires: bool
    ) -> None:
        moment = self.reference.move(client, self.clock())
        name = f"s{next(self.references)}"
        begins = moment + timedelta(hours=begins_in)
        ends = FOR_GOOD if lasts is None else begins + timedelta(hours=lasts)
        series = Series(credits, days, begins, ends, expires, rollover if expires else 0)
        body = {
            "credits": credits,
            "every": {1: "day", 7: "week"}[days],
            "startsAt": wire(begins),
            "endsAt": None if lasts is None else wire(ends),
            "expires": "period" if expires else "never",
            "rollover": {"max": rollover} if expires and rollover else None,
        }
        path = f"/internal/clients/{self.name(client)}/recurring-grants/{name}"
        self.run(self.metering.admin("PUT", path, body))
        self.reference.repeat(client, name, series, self.clock())

    def post(self, client: str, path: str, body: dict[str, Any]) -> int:
        status, _ = self.run(
            self.metering.call("POST", f"/internal/clients/{self.name(client)}/{path}", body, key=ADMIN_KEY)
        )
        return status

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
        decisions = self.run(self.metering.decide(*[self.wire(event) for event in batch]))
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
        assert states == [self.reference.release(event, self.clock()) for event in batch]

    @precondition(lambda self: self.reference.charged)
    @rule(number=st.integers(0, 99))
    def see_who_paid(self, number: int) -> None:
        client, event_id = list(self.reference.charged)[number % len(self.reference.charged)]
        self.reference.move(client, self.clock())
        path = f"/internal/events/{event_id}?clientId={self.name(client)}"
        document = self.run(self.metering.admin("GET", path))
        paid = {payer["grantId"]: payer["credits"] for payer in document["receipt"]["grants"]}
        assert paid == self.reference.accounts[client].payers_of(event_id)

    @rule(hours=st.sampled_from([1, 5, 24, 24 * 9]))
    def let_time_pass(self, hours: int) -> None:
        self.clock.advance(hours=hours)
        self.is_unread = True

    @rule()
    def set_the_clock_back(self) -> None:
        """The database's: nothing is decided before an account's last moment."""
        self.clock.advance(hours=-2)

    @invariant()
    def totals_are_the_references(self) -> None:
        """Not just after time has passed: reading moves an account on, and so must all else."""
        if self.is_unread:
            self.is_unread = False
            return
        for client, account in self.reference.accounts.items():
            self.balance_is_the_references(client, account)
            self.quotas_are_the_references(client, account)

    def teardown(self) -> None:
        """Once the life of the clients is over, look at what was told of them."""
        told = """
            SELECT kind, (threshold * CASE kind WHEN 'quota' THEN 100 ELSE 1 END)::int FROM notice
            WHERE client_id = $1 AND kind IN ('quota', 'balance')
        """
        for client, account in self.reference.accounts.items():
            rows = self.run(self.metering.fetch(told, self.name(client)))
            assert sorted(map(tuple, rows)) == sorted(account.told)

    def balance_is_the_references(self, client: str, account: Account) -> None:
        self.reference.move(client, self.clock())
        spent, held = self.reference.spent_and_held(client)
        balance = self.run(self.metering.admin("GET", f"/internal/clients/{self.name(client)}/balance"))
        assert balance["granted"] == account.granted
        assert balance["adjusted"] == account.adjusted
        assert (balance["spent"], balance["held"], balance["expired"]) == (spent, held, account.expired)
        assert balance["available"] == self.reference.available(client)
        found = [(each["grantId"], each["state"], each["left"]) for each in balance["grants"] if each["left"]]
        assert found == account.open(self.reference.holds_of(client))

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


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(MORE_EXAMPLES, marks=pytest.mark.system)])
def test_service_does_what_the_reference_does(
    metering_dsn: str, redis_url: str, clock: MovableClock, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setattr(components, "BEGIN_SECONDS", 1e9)  # what was released stays known, however long this takes
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
                    max_examples=examples,
                    stateful_step_count=STEPS,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            # Whatever a clock that went back left ahead is past by then.
            clock.advance(days=365)
            report = runner.run(audit(metering_dsn, clock()))
            assert report.is_sound, report.violations
        finally:
            runner.run(client.close())


async def audit(dsn: str, now: datetime) -> AuditReport:
    async with open_pool(dsn, size=1, application_name="audit") as pool:
        return await audit_ledger(pool, now=now, unresolved_after_seconds=0)


def test_reference_denies_what_it_should() -> None:
    reference = Reference(CLIENTS)
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
