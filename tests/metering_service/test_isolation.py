"""Nobody in another's way: a locked account, a broken row, or a caller whose time is over concerns nobody else.

Long because what may stand in the way has a test each.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from metering_service.components import COMPONENTS
from metering_service.events.event import BillableEvent, find_repeated
from service_chassis.application import READINESS
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, Metering, StartMetering, event

GOOD = [f"good-{number}" for number in range(20)]
TURNS = 2


@pytest.fixture
async def connection(metering: Metering) -> AsyncIterator[asyncpg.Connection]:
    """Somebody with a psql of their own."""
    connection = await asyncpg.connect(metering.dsn)
    yield connection
    await connection.close()


async def test_a_locked_account_gets_errors_and_its_neighbours_their_decisions(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    await metering.authorize(event("bad"), *(event(client) for client in GOOD))
    async with connection.transaction():
        await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
        for most_seconds in (1.5, 0.5):  # once to find out, then hardly at all
            began = time.monotonic()
            bad, *good = await metering.authorize(event("bad"), *(event(client) for client in GOOD))
            assert (bad["decision"], bad["code"]) == ("error", "not_decided")
            assert {decision["decision"] for decision in good} == {"granted"}
            assert time.monotonic() - began < most_seconds
    [decision] = await metering.authorize(event("bad"))
    assert decision["decision"] == "granted"


async def test_an_account_whose_lock_changes_hands_is_waited_for(metering: Metering) -> None:
    """As where several processes decide about one client: each has its turn, and nobody an error."""
    await metering.authorize(event("busy"))
    attempts: list[dict[str, object]] = []

    async def lock_again_and_again(connection: asyncpg.Connection) -> None:
        while len(attempts) < TURNS:
            async with connection.transaction():
                await connection.execute("SELECT FROM account WHERE client_id = 'busy' FOR NO KEY UPDATE")
                await asyncio.sleep(0.06)
        await connection.close()

    others = [asyncio.create_task(lock_again_and_again(await asyncpg.connect(metering.dsn))) for _ in range(3)]
    try:
        while len(attempts) < TURNS:
            attempt = event("busy")
            decisions = await metering.authorize(attempt, *(event(client) for client in GOOD))
            assert {decision["decision"] for decision in decisions} == {"granted"}
            assert (await metering.settle_by_ids(attempt))[0]["state"] == "settled"
            attempts.append(attempt)
    finally:
        attempts += [{}] * TURNS
        await asyncio.gather(*others)


async def test_a_new_client_is_decided_about_beside_a_locked_account(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    await metering.authorize(event("bad"))
    async with connection.transaction():
        await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
        for number in range(2):
            bad, new = await metering.authorize(event("bad"), event(f"new-{number}"))
            assert (bad["decision"], new["decision"]) == ("error", "granted")


async def test_an_account_is_decided_about_as_soon_as_its_lock_is_given_up(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    await metering.authorize(event("bad"))
    for _ in range(TURNS):
        async with connection.transaction():
            await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
            [decision] = await metering.authorize(event("bad"))
            assert decision["decision"] == "error"
        [decision] = await metering.authorize(event("bad"))
        assert decision["decision"] == "granted"


async def test_two_calls_at_once_find_that_a_lock_was_given_up(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    await metering.authorize(event("bad"))
    for _ in range(TURNS):
        async with connection.transaction():
            await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
            assert [each["decision"] for each in await metering.authorize(event("bad"))] == ["error"]
        decisions = await asyncio.gather(*[metering.authorize(event("bad")) for _ in range(2)])
        assert [each["decision"] for [each] in decisions] == ["granted"] * 2


async def test_a_locked_account_keeps_nobody_elses_charges_and_releases_waiting(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    attempts = [event("bad"), *(event(client) for client in GOOD)]
    await metering.authorize(*attempts)
    async with connection.transaction():
        await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
        results = await metering.settle_by_ids(*attempts)
        assert [result["state"] for result in results] == ["error"] + ["settled"] * len(GOOD)
        unknown = [event("bad"), *(event(client) for client in GOOD)]
        assert await metering.release(*unknown) == ["error"] + ["released"] * len(GOOD)
    assert (await metering.settle_by_ids(attempts[0]))[0]["state"] == "settled"


async def test_an_account_that_breaks_its_own_rule_keeps_nobody_elses_charge_waiting(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    attempts = [event("bad"), *(event(client) for client in GOOD)]
    await metering.give("bad", grant=1)
    await metering.authorize(*attempts)
    await connection.execute(
        "ALTER TABLE account ADD CONSTRAINT broken CHECK (client_id <> 'bad' OR spent = 0) NOT VALID"
    )
    results = await metering.settle_by_ids(*attempts)
    assert [result["state"] for result in results] == ["error"] + ["settled"] * len(GOOD)
    assert await metering.spends("bad") == []
    await connection.execute("ALTER TABLE account DROP CONSTRAINT broken")
    assert (await metering.settle_by_ids(attempts[0]))[0]["state"] == "settled"


async def test_a_broken_row_of_one_event_keeps_no_other_event_of_its_client_waiting(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    attempts = [event() for _ in range(30)]
    await metering.authorize(*attempts)
    await connection.execute(
        f"ALTER TABLE ledger_entry ADD CONSTRAINT broken CHECK (event_id <> '{attempts[7]['eventId']}')"
    )
    results = await metering.settle_by_ids(*attempts)
    assert [n for n, result in enumerate(results) if result["state"] != "settled"] == [7]


async def test_nothing_is_decided_that_nobody_waits_for_any_more(metering: Metering) -> None:
    attempt = event()
    headers = {"Authorization": f"Bearer {EVENTS_KEY}", "X-Time-Left-Ms": "0"}
    async with metering.clients[0].post(
        "/internal/events/authorize", json={"events": [attempt]}, headers=headers
    ) as response:
        [decision] = (await response.json())["decisions"]
    assert (decision["decision"], decision["code"]) == ("error", "too_late")
    assert await metering.fetch("SELECT FROM hold") == []
    headers["X-Time-Left-Ms"] = "soon"
    async with metering.clients[0].post(
        "/internal/events/authorize", json={"events": [attempt]}, headers=headers
    ) as response:
        assert (response.status, (await response.json())["details"][0]["field"]) == (400, "X-Time-Left-Ms")


async def test_a_process_is_ready_while_decisions_have_every_connection(start_metering: StartMetering) -> None:
    metering = await start_metering(postgres_pool_size=2)
    connection = await asyncpg.connect(metering.dsn)
    app = metering.clients[0].server.app  # type: ignore[attr-defined]
    try:
        async with connection.transaction():
            await metering.authorize(event("bad"))
            await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
            waiting = [asyncio.create_task(metering.authorize(event("bad"))) for _ in range(20)]
            assert await app[READINESS].find_not_ready() == []
            await asyncio.gather(*waiting)
    finally:
        await connection.close()


async def test_a_new_client_is_served_while_everything_else_has_every_connection(
    start_metering: StartMetering,
) -> None:
    """Operators who grant credits to a locked account, say."""
    metering = await start_metering(postgres_pool_size=2)
    pool = metering.clients[0].server.app[COMPONENTS].pool  # type: ignore[attr-defined]
    async with pool.acquire(), pool.acquire():
        [decision] = await metering.authorize(event("new"))
        assert decision["decision"] == "granted"
        [result] = await metering.settle(event("newer"))
        assert (result["state"], result["late"]) == ("settled", True)


async def test_grants_to_a_locked_account_leave_connections_to_other_clients(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    turns = metering.clients[0].server.app[COMPONENTS].pool.turns  # type: ignore[attr-defined]
    await metering.give("bad", grant=1)
    await metering.give("good", grant=1)
    async with connection.transaction():
        await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
        waiting = [
            asyncio.create_task(
                metering.admin("POST", "/internal/clients/bad/grants", {"grantId": f"grant-{n}", "credits": 1})
            )
            for n in range(10)
        ]
        async with asyncio.timeout(5):
            while turns.taken < turns.size - 1:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)
        for _ in range(10):
            assert await metering.balance("good") == (1, 0, 0, 1)
        assert turns.taken == turns.size - 1
    await asyncio.gather(*waiting)
    assert await metering.balance("bad") == (11, 0, 0, 11)


async def test_a_client_beyond_its_share_of_the_connections_is_told_to_come_back(
    metering: Metering, connection: asyncpg.Connection
) -> None:
    pool = metering.clients[0].server.app[COMPONENTS].pool  # type: ignore[attr-defined]
    pool._acquire_seconds = 0.2
    await metering.give("bad", grant=1)
    async with connection.transaction():
        await connection.execute("SELECT FROM account WHERE client_id = 'bad' FOR UPDATE")
        path = "/internal/clients/bad/grants"
        waiting = [
            asyncio.create_task(metering.call("POST", path, {"grantId": f"g{n}", "credits": 1}, key=ADMIN_KEY))
            for n in range(pool.turns.size)
        ]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {(task.result()[0], task.result()[1]["code"]) for task in done} == {(503, "too_many_at_once")}
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("is_booked", [False, True])
async def test_a_default_policy_that_is_not_in_force_is_not_ready_and_settles_what_is_held(
    start_metering: StartMetering, capsys: pytest.CaptureFixture[str], is_booked: bool
) -> None:
    whole = await start_metering()
    if is_booked:
        terms = {"prices": {"*": 0}, "effectiveAt": "2026-05-01T00:00:00Z"}
        await whole.admin("PUT", "/internal/policies/nowhere", terms)
    attempt = event()
    await whole.authorize(attempt)
    metering = await start_metering(default_policy="nowhere")
    app = metering.clients[-1].server.app  # type: ignore[attr-defined]
    assert await app[READINESS].find_not_ready() == ["default_policy"]
    said = capsys.readouterr().out
    assert "METERING_DEFAULT_POLICY" in said
    assert "nowhere" in said
    assert (await metering.settle_by_ids(attempt, process=1))[0]["state"] == "settled"


async def test_a_client_without_a_policy_keeps_no_other_event_of_its_call_from_being_decided(
    start_metering: StartMetering,
) -> None:
    metering = await start_metering(default_policy="nowhere")
    await metering.give("acme", grant=10)
    decisions = await metering.authorize(event("lost"), event("acme"), event("lost"))
    assert [each["decision"] for each in decisions] == ["error", "granted", "error"]
    assert [each["decision"] for each in await metering.authorize(event("lost"))] == ["error"]
    asked = {"events": [event("lost"), event("acme")], "dryRun": True}
    status, document = await metering.call("POST", "/internal/events/authorize", asked)
    assert (status, [each["decision"] for each in document["decisions"]]) == (200, ["error", "granted"])
    results = await metering.settle(event("lost"), event("acme"))  # told whole, and never held
    assert [result["state"] for result in results] == ["error", "settled"]


async def test_one_event_named_500_times_is_one_hold_and_quick(metering: Metering) -> None:
    await metering.give("acme", grant=1000)
    attempt = event()
    began = time.monotonic()
    decisions = await metering.authorize(*([attempt] * 500))
    assert {decision["holdId"] for decision in decisions} == {attempt["holdId"]}
    assert {result["state"] for result in await metering.settle_by_ids(*([attempt] * 500))} == {"settled"}
    assert time.monotonic() - began < 5
    assert await metering.balance("acme") == (1000, 1, 0, 999)


def test_repeated_ids_are_found_for_each_client_by_itself() -> None:
    first = BillableEvent("h1", "e1", "acme", "t")
    events = [
        first,
        BillableEvent("h1", "e1", "other", "t"),
        BillableEvent("h2", "e1", "acme", "t"),
        BillableEvent("h1", "e2", "acme", "t"),
        BillableEvent("h3", "e3", "acme", "t"),
        first,
        BillableEvent("e3", "h3", "acme", "t"),
    ]
    assert find_repeated(events) == [False, False, True, True, False, True, True]
