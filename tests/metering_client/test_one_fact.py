"""One fact in one transaction: it is stored and charged exactly once, or not at all, whatever ends the block.

Long because each way in which the block can end is a few lines of its own.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from metering_client import Billing, EventRefused, FactExists, Hold, HoldAbandoned, MeteringUnavailable
from metering_client.event import MAX_TEXT_CHARACTERS, MAX_UNITS
from metering_client.hold import Charge
from metering_service.policies import policy
from tests.metering_client.conftest import TOKENS, StartBilling
from tests.metering_service.conftest import Metering

INSERT = "INSERT INTO completion (event_id, client_id, tokens) VALUES ($1, 'acme', $2)"


async def sell(billing: Billing, pool: asyncpg.Pool, fact_id: object, *, most: int = 400, tokens: int = 150) -> Hold:
    async with (
        billing.authorize(TOKENS, fact_id, client_id="acme", units=most) as hold,
        pool.acquire() as connection,
        hold.charge(connection, units=tokens),
    ):
        await connection.execute(INSERT, hold.event_id, tokens)
    return hold


async def settle_all(billing: Billing, pool: asyncpg.Pool) -> None:
    """Wait until the relay has had everything charged."""
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM billable_event WHERE outcome = 'happened'"):
            await billing.relay.settle_committed()
            await asyncio.sleep(0.01)


async def test_the_most_is_held_and_what_it_was_is_charged(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    async with billing.authorize(TOKENS, "c1", client_id="acme", user_id="user-1", units=400) as hold:
        assert await metering.balance("acme") == (10_000, 0, 800, 9_200)
        async with pool.acquire() as connection, hold.charge(connection) as charge:
            await connection.execute(INSERT, hold.event_id, 150)
            charge.units = 150
    await settle_all(billing, pool)
    assert await metering.balance("acme") == (10_000, 300, 0, 9_700)
    [spend] = await metering.spends("acme")
    assert (spend["eventId"], spend["units"], spend["userId"]) == ("llm.tokens:c1", 150, "user-1")


@pytest.mark.parametrize(("tokens", "credits"), [(0, 0), (500, 1000)])
async def test_nothing_and_more_than_was_held_are_charged_as_they_were(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, tokens: int, credits: int
) -> None:
    await sell(billing, pool, "c1", tokens=tokens)
    await settle_all(billing, pool)
    assert await metering.balance("acme") == (10_000, credits, 0, 10_000 - credits)


async def test_a_refusal_says_when_to_come_back_and_nothing_is_done(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    with pytest.raises(EventRefused) as refused:
        await sell(billing, pool, "c1", most=6_000)
    assert (refused.value.status, refused.value.code) == (429, "api_balance_exhausted")
    assert await metering.balance("acme") == (10_000, 0, 0, 10_000)
    assert await pool.fetch("SELECT FROM completion") == []


class ModelFailed(Exception):
    pass


async def fail_before_the_transaction(hold: Hold, pool: asyncpg.Pool) -> None:
    raise ModelFailed


async def fail_inside_the_transaction(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection):
        await connection.execute(INSERT, hold.event_id, 1)
        raise ModelFailed


async def lose_the_database(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection):
        await connection.execute(INSERT, hold.event_id, 1)
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def break_a_rule_of_the_table(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection):
        await connection.execute(INSERT, hold.event_id, 1_000_000)


async def say_negative_units(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection, units=-1):
        await connection.execute(INSERT, hold.event_id, 1)


async def say_more_than_can_be_charged(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection, units=MAX_UNITS + 1):
        await connection.execute(INSERT, hold.event_id, 1)


async def say_a_half(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection, units=1.5):  # type: ignore[arg-type]
        await connection.execute(INSERT, hold.event_id, 1)


async def be_in_a_transaction(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction(), hold.charge(connection):
        pass


async def charge_twice(hold: Hold, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, hold.charge(connection, units=150):
        await connection.execute(INSERT, hold.event_id, 150)
    async with pool.acquire() as connection, hold.charge(connection, units=150):
        await connection.execute(INSERT, "another", 150)


async def decide_not_to(hold: Hold, pool: asyncpg.Pool) -> None:
    pass


ENDS: list[tuple[Any, type[BaseException] | None]] = [
    (fail_before_the_transaction, ModelFailed),
    (fail_inside_the_transaction, ModelFailed),
    (lose_the_database, asyncpg.ConnectionDoesNotExistError),
    (break_a_rule_of_the_table, asyncpg.CheckViolationError),
    (say_negative_units, ValueError),
    (say_more_than_can_be_charged, ValueError),
    (say_a_half, ValueError),
    (be_in_a_transaction, RuntimeError),
    (decide_not_to, None),
]


@pytest.mark.parametrize(("end", "error"), ENDS, ids=[end.__name__ for end, _ in ENDS])
async def test_whatever_keeps_the_fact_from_being_stored_gives_its_hold_back(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, end: Any, error: type[BaseException] | None
) -> None:
    raised: BaseException | None = None
    try:
        async with billing.authorize(TOKENS, "c1", client_id="acme", units=400) as hold:
            await end(hold, pool)
    except Exception as caught:
        raised = caught
    assert type(raised) is (error or type(None))
    await billing.sweeper.finish()
    assert await metering.balance("acme") == (10_000, 0, 0, 10_000)
    assert await pool.fetch("SELECT FROM completion") == []
    await sell(billing, pool, "c1")  # and the same fact can be sold


async def test_a_caller_that_is_cancelled_gives_its_hold_back(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    holding = asyncio.Event()

    async def wait_for_the_model() -> None:
        async with billing.authorize(TOKENS, "c1", client_id="acme", units=400):
            holding.set()
            await asyncio.Event().wait()

    request = asyncio.create_task(wait_for_the_model())
    await holding.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await billing.sweeper.finish()
    assert await metering.balance("acme") == (10_000, 0, 0, 10_000)


async def test_a_hold_is_for_one_fact(billing: Billing, pool: asyncpg.Pool, metering: Metering) -> None:
    async def sell_two() -> None:
        async with billing.authorize(TOKENS, "c1", client_id="acme", units=400) as hold:
            await charge_twice(hold, pool)

    with pytest.raises(RuntimeError, match="one fact"):
        await sell_two()
    await settle_all(billing, pool)
    assert await metering.balance("acme") == (10_000, 300, 0, 9_700)
    assert len(await pool.fetch("SELECT FROM completion")) == 1


WRONG: tuple[dict[str, Any], ...] = (
    {"event_type": "llm.token"},
    {"units": 0},
    {"units": -1},
    {"units": 1.5},
    {"units": True},
    {"units": "3"},
    {"units": MAX_UNITS + 1},
    {"units": 10**20},
    {"client_id": ""},
    {"client_id": None},
    {"client_id": ".."},
    {"client_id": "a\nb"},
    {"fact_id": "a\x1bb"},
    {"user_id": "u" * (MAX_TEXT_CHARACTERS + 1)},
    {"user_id": "a\x00b"},
    {"user_id": "\ud800"},
    {"fact_id": "f" * MAX_TEXT_CHARACTERS},
)


async def test_what_could_never_be_charged_is_not_authorized_and_hurts_no_neighbour(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    """Concurrent requests share a call, which one of them could have refused for all."""

    async def ask_for_it(wrong: dict[str, Any]) -> None:
        asked: dict[str, Any] = {"event_type": TOKENS, "fact_id": "c1", "client_id": "acme", **wrong}
        async with billing.authorize(**asked):
            pass

    asked = [ask_for_it(wrong) for wrong in WRONG]
    *wrongly, second, third = await asyncio.gather(
        *asked, *[sell(billing, pool, name) for name in ("c2", "c3")], return_exceptions=True
    )
    for wrong, refused in zip(WRONG, wrongly, strict=True):
        assert isinstance(refused, ValueError), wrong
        # A type is the service's own mistake; ids and units may be its caller's, and have a status as refusals do.
        assert getattr(refused, "status", None) == (None if "event_type" in wrong else 400), wrong
    assert [type(each) for each in (second, third)] == [Hold, Hold]
    await settle_all(billing, pool)
    assert await metering.balance("acme") == (10_000, 600, 0, 9_400)


async def test_the_limits_of_an_event_are_those_of_metering() -> None:
    assert (MAX_UNITS, MAX_TEXT_CHARACTERS) == (policy.MAX_UNITS, policy.MAX_IDENTIFIER_CHARACTERS)


async def test_metering_that_is_away_lets_nothing_through(start_billing: StartBilling, pool: asyncpg.Pool) -> None:
    billing = await start_billing(url="http://127.0.0.1:1", deadline=0.2)
    with pytest.raises(MeteringUnavailable):
        await sell(billing, pool, "c1")
    assert await pool.fetch("SELECT FROM completion") == []


async def test_the_same_fact_at_once_and_again_is_stored_and_charged_once(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    fact_id = uuid4()
    results = await asyncio.gather(*[sell(billing, pool, fact_id) for _ in range(5)], return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["FactExists"] * 4 + ["Hold"]
    await settle_all(billing, pool)
    with pytest.raises(FactExists):
        await sell(billing, pool, fact_id)
    assert await metering.balance("acme") == (10_000, 300, 0, 9_700)


async def test_a_request_that_was_taken_for_dead_stores_nothing_and_says_so(
    start_billing: StartBilling, pool: asyncpg.Pool, metering: Metering
) -> None:
    billing, other = await start_billing(), await start_billing(resolve_after=0)

    async def stand_still_for_long() -> None:
        async with billing.authorize(TOKENS, "c1", client_id="acme", units=400) as hold:
            await other.sweeper.run_once()
            async with pool.acquire() as connection, hold.charge(connection, units=150):
                await connection.execute(INSERT, hold.event_id, 150)

    with pytest.raises(HoldAbandoned):
        await stand_still_for_long()
    assert await metering.balance("acme") == (10_000, 0, 0, 10_000)
    assert await pool.fetch("SELECT FROM completion") == []


async def test_a_commit_whose_answer_is_lost_is_charged_by_the_sweeper(
    start_billing: StartBilling, pool: asyncpg.Pool, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing, other = await start_billing(), await start_billing(resolve_after=0)
    commit = Hold._commit

    async def lose_the_answer(self: Hold, transaction: Any) -> None:
        await commit(self, transaction)
        raise ConnectionResetError

    monkeypatch.setattr(Hold, "_commit", lose_the_answer)
    with pytest.raises(ConnectionResetError):
        await sell(billing, pool, "c1")
    await billing.sweeper.finish()
    assert await metering.balance("acme") == (10_000, 0, 800, 9_200)  # after COMMIT nobody releases
    await other.sweeper.run_once()
    assert await metering.balance("acme") == (10_000, 300, 0, 9_700)


async def test_a_fact_stored_before_its_charge_was_lost_is_charged_again_and_stored_once(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    """Metering was restored: it grants a fresh hold for a fact that is there."""
    await pool.execute(INSERT, "llm.tokens:c1", 150)
    with pytest.raises(FactExists):
        await sell(billing, pool, "c1")
    await billing.sweeper.finish()
    assert (await metering.balance("acme"))[2] == 800, "the hold is kept: the sweeper has it charged"


async def test_a_block_may_ask_the_fence_itself_and_go_on(
    billing: Billing, pool: asyncpg.Pool, metering: Metering
) -> None:
    async def write(charge: Charge) -> bool:
        return await charge.fence()

    at = datetime.now(UTC) - timedelta(minutes=1)
    async with (
        billing.authorize(TOKENS, "c1", client_id="acme") as hold,
        pool.acquire() as connection,
        hold.charge(connection, at=at) as charge,
    ):
        assert await write(charge)
        await connection.execute(INSERT, hold.event_id, 1)
    await settle_all(billing, pool)
    async with billing.authorize(TOKENS, "c1", client_id="acme") as hold, pool.acquire() as connection:
        assert hold.is_charged
        async with hold.charge(connection) as charge:
            assert not await write(charge)
            await connection.execute("UPDATE completion SET user_id = 'u' WHERE event_id = $1", hold.event_id)
    assert await pool.fetchval("SELECT user_id FROM completion") == "u"
    assert len(await metering.spends("acme")) == 1
