"""Refusals are true: by live holds alone, by the database's clock, and the same one by one as all at once."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_service.events.decision import Decision
from metering_service.events.event import BillableEvent
from metering_service.events.hold_store import CHARGING_SETTINGS, HoldStore
from metering_service.policies.policy import ClientPolicies, Policy, PolicyVersion, Quota
from metering_service.rates.limiter import RateOutcome
from service_chassis.application import METRICS, READINESS
from service_chassis.clock import system_clock
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import Metering, StartMetering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command


async def refuse(metering: Metering, **body: Any) -> tuple[str, int | None]:
    _, document = await metering.call("POST", "/internal/events/authorize", {"events": [event(**body)]})
    [decision] = document["decisions"]
    assert decision["decision"] == "denied"
    return decision["code"], decision["retryAfterSeconds"]


async def hold(metering: Metering, seconds: int, **fields: Any) -> dict[str, Any]:
    """Have something held that its caller will have resolved within so many seconds."""
    attempt = event(**fields)
    body = {"events": [attempt], "resolveWithinSeconds": seconds}
    _, document = await metering.call("POST", "/internal/events/authorize", body)
    assert document["decisions"][0]["decision"] == "granted"
    return attempt


@pytest.mark.parametrize(
    "terms", [{"quotas": [{"name": "q", "limit": 3, "period": "month"}], "credits": "unlimited"}, {"grant": 3}]
)
async def test_what_live_holds_alone_use_up_comes_back_when_they_are_resolved(
    metering: Metering, clock: MovableClock, terms: dict[str, Any]
) -> None:
    await metering.give("acme", **terms)
    first, second, third = [await hold(metering, seconds) for seconds in (40, 30, 20)]
    code = "api_quota_exceeded" if "quotas" in terms else "api_balance_exhausted"
    assert await refuse(metering) == (code, 20)
    clock.advance(seconds=19)
    assert await refuse(metering) == (code, 1)
    await metering.settle_by_ids(third)
    assert await refuse(metering) == (code, 11)
    clock.advance(seconds=12)  # the second is overdue: its caller is away
    assert await refuse(metering) == (code, 60)
    await metering.settle_by_ids(second)
    assert await refuse(metering) == (code, 9)
    await metering.settle_by_ids(first)
    _, wait = await refuse(metering)
    assert wait is None if "grant" in terms else wait is not None and wait > 7000
    assert not (await metering.authorize(event("other")))[0].get("code")


async def test_as_many_holds_must_be_resolved_as_the_event_needs(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 1})
    for seconds, units in ((10, 2), (20, 3), (30, 4)):
        await hold(metering, seconds, units=units)
    assert await refuse(metering, units=3) == ("api_balance_exhausted", 10)
    assert await refuse(metering, units=5) == ("api_balance_exhausted", 20)
    assert await refuse(metering, units=10) == ("api_balance_exhausted", 30)
    assert await refuse(metering, units=11) == ("api_balance_exhausted", None)


async def test_a_quota_goes_by_the_databases_clock_whatever_a_process_thinks(
    start_metering: StartMetering, clock: MovableClock
) -> None:
    metering = await start_metering()
    await metering.give("acme", quotas=[{"name": "q", "limit": 1, "period": "month"}], credits="unlimited")
    await metering.settle(event())
    clock.now = clock.now.replace(year=2027)  # the process's alone
    assert (await refuse(metering)) == ("api_quota_exceeded", 7200)


async def test_an_account_is_never_decided_about_before_its_last_moment(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", quotas=[{"name": "q", "limit": 1, "period": "day"}], credits="unlimited")
    clock.advance(hours=3)
    await metering.authorize(event())
    clock.advance(hours=-3)  # the database's clock was set back, over midnight
    code, _ = await refuse(metering)
    assert code == "api_quota_exceeded"


CLIENTS = ("ada", "bob", "cid")
USERS = (None, "ann", "eve")
TERMS = {
    "ada": Policy(
        (),
        (
            Quota("daily", 9, period="day"),
            Quota("units", 20, counts="units", per="user", overage=2),
            Quota("credits", 30, counts="credits", period="week"),
        ),
        {"t": 2},
        "prepaid",
        "enforce",
    ),
    "bob": Policy((), (Quota("credits", 5, counts="credits", overage=None),), {"t": 1}, "overdraft", "shadow", 3),
    "cid": Policy((), (), {"t": 1}, "overdraft", "enforce", 4),
}
events_of_a_batch = st.lists(
    st.tuples(st.sampled_from(CLIENTS), st.integers(0, 11), st.integers(0, 11), st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=12,
)


# Counters by their names: their numbers are as they come.
_HOLDS = """
    SELECT to_jsonb(h) - 'counter_ids', (SELECT array_agg(c.name || c.user_id ORDER BY place)
                                         FROM unnest(h.counter_ids) WITH ORDINALITY AS each (id, place)
                                         JOIN counter c ON c.client_id = h.client_id AND c.counter_id = each.id)
    FROM hold h ORDER BY client_id, hold_id
"""
_COUNTERS = "SELECT to_jsonb(c) - 'counter_id' FROM counter c ORDER BY client_id, name, user_id"


@given(st.lists(events_of_a_batch, min_size=1, max_size=4), st.integers(0, 60), st.sets(st.sampled_from(CLIENTS)))
async def test_all_at_once_decides_what_one_after_the_other_does(
    metering: Metering, clock: MovableClock, batches: list[Any], grant: int, some: set[str]
) -> None:
    outcomes = []
    async with open_pool(metering.dsn, size=1, application_name="test", settings=CHARGING_SETTINGS) as pool:
        for in_turn in (set(), some, set(CLIENTS)):
            async with pool.acquire() as connection:
                await _set_up(connection, grant)
                store = HoldStore(connection)
                transaction = [await _authorize(store, batch, in_turn) for batch in batches]
                statements = ("SELECT * FROM account ORDER BY client_id", _HOLDS, _COUNTERS)
                left = [await connection.fetch(statement) for statement in statements]
                outcomes.append((transaction, [[tuple(row) for row in rows] for rows in left]))
    assert outcomes[0] == outcomes[1] == outcomes[2]


async def test_who_was_refused_is_asked_about_by_one_statement_until_something_fits(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[set[str]] = []
    authorize = HoldStore.authorize

    async def look_on(store: HoldStore, *asked: Any, in_turn: set[str], **terms: Any) -> list[Decision | None]:
        spared.append(set(in_turn))
        return await authorize(store, *asked, in_turn=in_turn, **terms)

    monkeypatch.setattr(HoldStore, "authorize", look_on)
    await metering.give("acme", grant=1)
    await metering.give("other", grant=9)
    for expected in ("granted", "denied", "denied"):
        decisions = await metering.authorize(event(), event(clientId="other"))
        assert [decision["decision"] for decision in decisions] == [expected, "granted"]
    await metering.admin("POST", "/internal/clients/acme/grants", {"grantId": "more", "credits": 5})
    for _ in range(2):
        assert (await metering.authorize(event()))[0]["decision"] == "granted"
    assert spared == [set(), set(), {"acme"}, {"acme"}, set()]


async def _set_up(connection: asyncpg.Connection, grant: int) -> None:
    await connection.execute(
        "DELETE FROM hold; DELETE FROM counter; DELETE FROM assignment; DELETE FROM account;"
        "DELETE FROM policy_version; DELETE FROM policy"
    )
    for name, policy in TERMS.items():
        await connection.execute("INSERT INTO policy VALUES ($1)", name)
        await connection.execute(
            "INSERT INTO policy_version VALUES ($1, 1, $2, '2026-01-01', '2026-01-01')",
            name,
            orjson.dumps(policy.as_document()).decode(),
        )
        await connection.execute(
            "INSERT INTO assignment VALUES ($1, '2026-01-31 10:00Z', $1, '2026-01-31 10:00Z')", name
        )
        await connection.execute(
            "INSERT INTO account (client_id, granted, last_at) VALUES ($1, $2, '2026-03-31 21:00Z')", name, grant
        )


async def _authorize(
    store: HoldStore, batch: Sequence[tuple[str, int, int, int, bool]], in_turn: set[str]
) -> list[dict[str, Any]]:
    events = [
        BillableEvent(f"00000000-0000-7000-8000-{hold:012}", f"e{number}", client, "t", USERS[number % 3], units)
        for client, hold, number, units, _ in batch
    ]
    now = system_clock()
    policies = [
        ClientPolicies(PolicyVersion(event.client_id, 1, TERMS[event.client_id], now, now)) for event in events
    ]
    rates = [RateOutcome([0], 0) if passes or n % 5 else RateOutcome([1], 7) for n, (*_, passes) in enumerate(batch)]
    decisions: list[Decision | None] = await store.authorize(
        events, policies, rates, service="tests", default_policy="ada", in_turn=in_turn
    )
    return [asdict(decision) for decision in decisions if decision is not None]


async def test_a_process_far_from_its_databases_clock_is_not_ready_and_decides_nothing(
    metering: Metering, clock: MovableClock
) -> None:
    app = metering.clients[0].server.app  # type: ignore[attr-defined]
    assert await app[READINESS].find_not_ready() == []
    right = clock.now
    clock.now += timedelta(seconds=61)  # the process's alone
    assert await app[READINESS].find_not_ready() == ["clock"]
    [decision] = await metering.authorize(event())
    assert (decision["decision"], decision["code"]) == ("error", "not_decided")
    clock.now = right + timedelta(seconds=10)
    assert await app[READINESS].find_not_ready() == []
    assert 9 < app[METRICS].registry.get_sample_value("clock_apart_seconds") < 11
    assert (await metering.authorize(event()))[0]["decision"] == "granted"


async def test_what_was_counted_while_the_databases_clock_was_ahead_is_found_and_mended(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", quotas=[{"name": "q", "limit": 3, "period": "month"}], credits="unlimited")
    before, charged, held = event(), event(), event()
    await metering.authorize(before)
    await metering.settle_by_ids(before)
    clock.advance(days=400)
    await metering.authorize(charged, held)
    await metering.settle_by_ids(charged)
    clock.advance(days=-400)
    done = await run_command("metering", metering.dsn, "audit", "--json")
    assert done.code == 1
    assert {finding["rule"] for finding in orjson.loads(done.output)["violations"]} == {"account_ahead"}
    assert await refuse_or_grant(metering) is None  # an account of next year's has room that is not its own

    assert (await run_command("metering", metering.dsn, "mend-clock", "nobody")).code == 1
    done = await run_command("metering", metering.dsn, "mend-clock", "--json")
    assert (done.code, orjson.loads(done.output)) == (0, [{"clientId": "acme"}])
    assert orjson.loads((await run_command("metering", metering.dsn, "mend-clock", "--json")).output) == []
    assert (await run_command("metering", metering.dsn, "audit")).code == 0
    [quota] = (await metering.admin("GET", "/internal/clients/acme/quota"))["quotas"]
    assert (quota["used"], quota["held"]) == (2, 2)
    # By holds alone: their callers have not a year more to settle or release them.
    [decision] = await metering.authorize(event())
    assert (decision["code"], decision["retryAfterSeconds"]) == ("api_quota_exceeded", 60)


async def refuse_or_grant(metering: Metering) -> str | None:
    """Ask for one event more; return the refusal's code, None where it was granted."""
    [decision] = await metering.authorize(event())
    code: str | None = decision.get("code")
    return code
