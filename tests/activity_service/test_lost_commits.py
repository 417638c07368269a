"""A database that fails at the worst moment: nobody guesses, the fence knows, and the bill follows the fact."""

import asyncio
import time

import pytest

from service_chassis.database import pool as postgres
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity
from tests.activity_service.database_proxy import DatabaseProxy

FAULT = {"error": "Internal server error"}


@pytest.fixture
async def wired(start_activity: StartActivity, proxy: DatabaseProxy) -> Activity:
    """A service whose wire to its database can be cut."""
    return await start_activity(postgres_dsn=proxy.dsn)


async def test_a_create_whose_commit_is_unknown_is_500_and_its_retry_gets_the_play(
    wired: Activity, proxy: DatabaseProxy
) -> None:
    proxy.lose_answer_to(b"plan-of-the-lost-answer")
    lost = await wired.create(key="k", planId="plan-of-the-lost-answer")
    assert (lost.status, lost.json) == (500, FAULT)
    assert proxy.answer_lost.is_set()
    assert [name for name, _ in wired.metering.calls if name == "release"] == []

    retry = await wired.create(key="k", planId="plan-of-the-lost-answer")
    await wired.settle_all()
    await wired.sweep()
    assert retry.status == 201
    assert retry.headers["Idempotency-Replayed"] == "true"
    assert len(await wired.rows("plan_play")) == 1
    assert wired.metering.charges == {f"plan_play.created:{retry.play['id']}": 1}
    assert wired.metering.states() == ["settled"]


async def test_without_a_key_a_create_whose_commit_is_unknown_is_billed_for_what_it_made(
    wired: Activity, proxy: DatabaseProxy
) -> None:
    proxy.lose_answer_to(b"plan-of-the-lost-answer")
    assert (await wired.create(planId="plan-of-the-lost-answer")).status == 500

    await wired.sweep()
    [play] = await wired.rows("plan_play")
    assert wired.metering.charges == {f"plan_play.created:{play['id']}": 1}
    assert wired.metering.states() == ["settled"]


async def test_a_completion_whose_commit_is_unknown_is_500_and_billed(wired: Activity, proxy: DatabaseProxy) -> None:
    play = await wired.create_play()
    await wired.settle_all()
    proxy.lose_answer_to(b"COMMIT", after=b"plan_play.completed:")
    lost = await wired.update(play["id"], status="ended")
    assert (lost.status, lost.json) == (500, FAULT)
    assert proxy.answer_lost.is_set()
    assert [name for name, _ in wired.metering.calls if name == "release"] == []

    retry = await wired.update(play["id"], status="ended")
    await wired.settle_all()
    await wired.sweep()
    assert retry.status == 200
    assert wired.metering.charges.keys() == {f"plan_play.{what}:{play['id']}" for what in ("created", "completed")}
    assert wired.metering.states() == ["settled", "settled"]


async def test_a_completion_that_fails_before_its_commit_gives_its_hold_back_at_once(
    wired: Activity, proxy: DatabaseProxy
) -> None:
    play = await wired.create_play()
    await wired.settle_all()
    proxy.lose_answer_to(b"plan_play.completed:")
    lost = await wired.update(play["id"], status="ended")
    assert (lost.status, lost.json) == (500, FAULT)
    assert (await wired.read(play["id"])).play == play
    await wired.components.billing.sweeper.finish()
    assert wired.metering.states() == ["released", "settled"]
    assert await wired.outcomes() == ["abandoned"]

    assert (await wired.update(play["id"], status="ended")).status == 200
    await wired.settle_all()
    assert wired.metering.states() == ["released", "settled", "settled"]


async def test_a_database_that_is_away_is_500_and_leaves_a_hold_that_the_sweeper_gives_back(
    wired: Activity, proxy: DatabaseProxy, activity: Activity
) -> None:
    await proxy.stop()
    assert (await wired.create()).status == 500
    assert (await wired.create(key="k")).status == 500
    assert activity.metering.states() == ["held", "held"]

    await activity.sweep()
    assert activity.metering.states() == ["released", "released"]
    assert await activity.rows("plan_play") == []


async def test_a_database_that_stands_still_is_500_within_a_bound_for_everybody(
    start_activity: StartActivity, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "COMMAND_TIMEOUT_SECONDS", 0.3)
    activity = await start_activity(postgres_dsn=proxy.dsn, postgres_pool_size=4)
    play = await activity.create_play()
    await activity.settle_all()
    proxy.freeze()
    began = time.monotonic()
    replies = await asyncio.gather(
        *(activity.create() for _ in range(5)),
        *(activity.create(key=f"k{n}") for n in range(5)),
        activity.read(play["id"]),
        activity.list_plays(),
        activity.update(play["id"], status="ended"),
    )
    seconds = time.monotonic() - began
    proxy.thaw()

    assert [(reply.status, reply.json) for reply in replies] == [(500, FAULT)] * 13
    assert seconds < 6
    async with asyncio.timeout(5):
        while (await activity.create()).status != 201:
            pass


async def test_an_acknowledged_create_is_there_and_an_unacknowledged_one_is_billed_if_it_is(
    wired: Activity, proxy: DatabaseProxy
) -> None:
    """Cut at every fifth create, under load: plays and charges are the same set, and every 201 is among them."""

    async def create(n: int) -> str | None:
        if n % 5 == 0:
            proxy.lose_answer_to(f"plan-{n}-".encode())
        reply = await wired.create(planId=f"plan-{n}-")
        return reply.play["id"] if reply.status == 201 else None

    acknowledged: set[str | None] = set()
    for start in range(0, 60, 12):
        acknowledged |= set(await asyncio.gather(*(create(n) for n in range(start, start + 12))))
    await wired.settle_all()
    await wired.sweep()

    plays = {str(row["id"]) for row in await wired.rows("plan_play")}
    assert acknowledged - {None} <= plays
    assert None in acknowledged
    assert wired.metering.charges.keys() == {f"plan_play.created:{play}" for play in plays}
    assert set(wired.metering.states()) <= {"settled", "released"}
