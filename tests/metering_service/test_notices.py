"""A threshold is told once for each period, by what is settled, whatever comes at once or again."""

import asyncio
from typing import Any

import orjson

from metering_service.notices.expiring import note_expiring
from metering_service.notices.store import NoticeStore
from metering_service.retention.forget import NOTICES_KEPT, forget
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import Metering, StartMetering, event
from tests.metering_service.credits import grant, recur
from tests.metering_service.movable_clock import MovableClock

QUOTA = {"name": "monthly", "limit": 10, "counts": "units", "period": "month"}
AT = [{"of": "quota:monthly", "at": [0.8, 1]}]


async def told(metering: Metering, kind: str, client_id: str = "acme") -> list[tuple[float, dict[str, Any]]]:
    rows = await metering.fetch(
        "SELECT threshold, data FROM notice WHERE kind = $1 AND client_id = $2 ORDER BY at, threshold",
        kind,
        client_id,
    )
    return [(float(row["threshold"]), orjson.loads(row["data"])) for row in rows]


async def thresholds(metering: Metering, kind: str) -> list[float]:
    return [threshold for threshold, _ in await told(metering, kind)]


async def sell(metering: Metering, units: int, **fields: Any) -> None:
    await metering.authorize(attempt := event(units=units, **fields))
    [result] = await metering.settle_by_ids(attempt)
    assert result["state"] == "settled"


async def test_each_threshold_is_told_once_when_so_much_is_settled(metering: Metering) -> None:
    await metering.give("acme", credits="unlimited", quotas=[QUOTA], notices=AT)
    await sell(metering, 7)
    assert await thresholds(metering, "quota") == []
    await sell(metering, 1)
    assert await thresholds(metering, "quota") == [0.8]
    await sell(metering, 1)
    await sell(metering, 1)
    [_, (threshold, data)] = await told(metering, "quota")
    assert (threshold, data["quota"], data["limit"], data["used"]) == (1.0, "monthly", 10, 10)
    assert (data["policyId"], data["policyVersion"]) == ("of-acme", 1)


async def test_what_is_held_or_released_or_not_all_settled_tells_nothing(metering: Metering) -> None:
    await metering.give("acme", grant=100, quotas=[QUOTA], notices=[*AT, {"of": "balance", "at": [92]}])
    held, partial = event(units=4), event(units=6)
    await metering.authorize(held, partial)
    assert await metering.release(held) == ["released"]
    await metering.settle_by_ids(partial, units=7)
    assert (await thresholds(metering, "quota"), await thresholds(metering, "balance")) == ([], [])
    await sell(metering, 1)
    assert (await thresholds(metering, "quota"), await thresholds(metering, "balance")) == ([0.8], [92])


async def test_twenty_settles_at_once_tell_each_threshold_once(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give(
        "acme", grant=20, quotas=[{**QUOTA, "limit": 20}], notices=[*AT, {"of": "balance", "at": [5]}]
    )
    attempts = [event() for _ in range(20)]
    await metering.authorize(*attempts)
    settles = [metering.settle_by_ids(each, process=n % 2) for n, each in enumerate(attempts * 2)]
    await asyncio.gather(*settles)
    assert await thresholds(metering, "quota") == [0.8, 1.0]
    assert await thresholds(metering, "balance") == [5.0]


async def test_the_next_period_is_told_anew(metering: Metering, clock: MovableClock) -> None:
    await metering.give("acme", credits="unlimited", quotas=[QUOTA], notices=AT)
    await sell(metering, 10)
    clock.advance(days=1)  # it is April
    await sell(metering, 9)
    assert await thresholds(metering, "quota") == [0.8, 1.0, 0.8]


async def test_of_a_quota_per_user_each_user_is_told_of(metering: Metering) -> None:
    await metering.give("acme", credits="unlimited", quotas=[{**QUOTA, "per": "user"}], notices=AT)
    await sell(metering, 8, userId="ann")
    await sell(metering, 9, userId="bob")
    rows = await metering.fetch("SELECT user_id FROM notice ORDER BY user_id")
    assert [row["user_id"] for row in rows] == ["ann", "bob"]


async def test_a_balance_that_falls_rises_and_falls_again_is_told_twice(metering: Metering) -> None:
    await metering.give("acme", grant=10, notices=[{"of": "balance", "at": [8, 5]}])
    await sell(metering, 2)
    await sell(metering, 1)
    assert await thresholds(metering, "balance") == [8]
    await grant(metering, "not enough", 1)  # 8 again, which is not above 8
    await sell(metering, 1)
    assert await thresholds(metering, "balance") == [8]
    await grant(metering, "more", 2)
    await sell(metering, 1)
    assert await thresholds(metering, "balance") == [8, 8]
    await sell(metering, 3)
    assert [(at, data["balance"]) for at, data in await told(metering, "balance")] == [(5, 5), (8, 8), (8, 8)]


async def test_a_late_charge_and_one_beyond_its_hold_tell_too(metering: Metering) -> None:
    await metering.give("acme", credits="unlimited", quotas=[QUOTA], notices=AT)
    await metering.settle(event(units=8))
    assert await thresholds(metering, "quota") == [0.8]
    await metering.authorize(attempt := event(units=1))
    await metering.settle_by_ids(attempt, units=2)
    assert await thresholds(metering, "quota") == [0.8, 1.0]


async def test_a_policy_that_gets_thresholds_tells_of_those_that_are_passed_at_the_next_charge(
    metering: Metering,
) -> None:
    await metering.give("acme", credits="unlimited", quotas=[QUOTA])
    await sell(metering, 9)
    await metering.give("acme", credits="unlimited", quotas=[QUOTA], notices=AT)
    assert await thresholds(metering, "quota") == []
    await sell(metering, 1)
    assert await thresholds(metering, "quota") == [0.8, 1.0]


async def test_the_first_refusal_of_a_limit_in_its_period_is_told_without_being_asked_for(
    start_metering: StartMetering, clock: MovableClock
) -> None:
    metering = await start_metering()
    await metering.give("acme", credits="prepaid", quotas=[{**QUOTA, "period": "day"}])

    async def refuse(*units: int) -> None:
        decisions = await metering.authorize(*[event(units=each) for each in units])
        assert {decision["decision"] for decision in decisions} == {"denied"}
        async with asyncio.timeout(30):  # until they are written
            while not await metering.fetch("SELECT FROM refusal WHERE last_at = $1", clock.now):
                pass

    await refuse(1, 11)  # no credits; more than the quota
    clock.advance(minutes=1)
    await refuse(11)
    first = await told(metering, "refusal")
    assert sorted((data["code"], data["limit"]) for _, data in first) == [
        ("api_balance_exhausted", None),
        ("api_quota_exceeded", "monthly"),
    ]
    clock.advance(hours=2)  # a new day, and month
    await refuse(11)
    assert len(await told(metering, "refusal")) == 3


async def test_a_grant_about_to_expire_is_told_once_with_what_is_left(
    metering: Metering, clock: MovableClock
) -> None:
    async with open_pool(metering.dsn, size=1, application_name="test") as pool:
        await metering.give("acme")
        await grant(metering, "spring", 10, expiresAt="2026-05-01T00:00:00Z")
        await grant(metering, "weekend", 3, expiresAt="2026-04-03T22:00:00Z")
        await recur(metering, "plan", startsAt="2026-03-01T00:00:00Z")
        await note_expiring(pool)
        assert await told(metering, "expiry") == []
        clock.advance(days=2, hours=7)  # the last quarter of a short life
        await note_expiring(pool)
        await note_expiring(pool)
        assert [data["grantId"] for _, data in await told(metering, "expiry")] == ["weekend"]
        clock.advance(days=22)
        await metering.admin("GET", "/internal/clients/acme/balance")
        await note_expiring(pool)
        [_, (_, data)] = await told(metering, "expiry")
        assert data == {"grantId": "spring", "credits": 10, "left": 10}


async def test_a_grant_that_is_used_up_is_not_told_of(metering: Metering, clock: MovableClock) -> None:
    await metering.give("acme")
    await grant(metering, "spring", 5, expiresAt="2026-05-01T00:00:00Z")
    await sell(metering, 5)
    clock.advance(days=25)
    async with open_pool(metering.dsn, size=1, application_name="test") as pool:
        await note_expiring(pool)
    assert await told(metering, "expiry") == []


async def test_old_notices_are_forgotten_unless_the_same_could_be_told_again(
    metering: Metering, clock: MovableClock
) -> None:
    yearly = {**QUOTA, "name": "yearly", "period": "year"}
    notices = [*AT, {"of": "quota:yearly", "at": [0.5]}, {"of": "balance", "at": [50]}]
    await metering.give("acme", grant=20, quotas=[QUOTA, yearly], notices=notices)
    await sell(metering, 10)
    clock.advance(days=40)
    async with open_pool(metering.dsn, size=1, application_name="test") as pool:
        await forget(NoticeStore(pool).delete_old, NOTICES_KEPT)
    rows = await metering.fetch("SELECT kind, data ->> 'quota' AS quota FROM notice ORDER BY kind")
    assert [(row["kind"], row["quota"]) for row in rows] == [("balance", None), ("quota", "yearly")]


async def test_a_client_without_thresholds_reads_nothing_for_them(metering: Metering) -> None:
    """One condition on the hold that is moved anyway."""
    scans = """
        SELECT sum(seq_scan + idx_scan)::int FROM pg_stat_xact_user_tables
        WHERE relname IN ('notice', 'policy_version')
    """
    await metering.give("without", grant=100, quotas=[QUOTA])
    await metering.give("with", grant=100, quotas=[QUOTA], notices=AT)
    found = {}
    async with open_pool(metering.dsn, size=1, application_name="test") as pool, pool.acquire() as connection:
        for client in ("without", "with"):
            await metering.authorize(attempt := event(client))
            ids = {"n": 0, "hold_id": attempt["holdId"], "event_id": attempt["eventId"], "client_id": client}
            async with connection.transaction():
                settled = await connection.fetch(
                    "SELECT * FROM settle_events($1, ARRAY[$2], 'tests')", orjson.dumps([ids]).decode(), client
                )
                assert len(settled) == 1
                found[client] = await connection.fetchval(scans)
    assert found["without"] == 0 < found["with"]
