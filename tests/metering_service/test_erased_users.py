"""An erased user is in nothing that metering keeps, and every repetition stays what it was."""

import asyncio
from typing import Any

import asyncpg
import orjson

from tests.metering_service.conftest import Metering, again, event
from tests.operator_command import run_command

USER = "marked-user"


async def erase(metering: Metering, client_id: str = "acme", user_id: str = USER) -> dict[str, Any]:
    who = ("--client", client_id, "--user", user_id, "--yes", "--json")
    done = await run_command("metering", metering.dsn, "users", "erase", *who)
    assert done.code == 0, done.trace
    assert USER not in done.output + done.trace
    found: dict[str, Any] = orjson.loads(done.output)
    return found


async def find_nobody(metering: Metering, client_id: str = "acme", user_id: str = USER) -> str:
    """Erase where there is nothing to erase, and return what was said."""
    done = await run_command(
        "metering", metering.dsn, "users", "erase", "--client", client_id, "--user", user_id, "--yes"
    )
    assert (done.code, done.output) == (1, "")
    assert user_id not in done.trace
    return done.trace.removeprefix("metering_service: ").strip()


async def everything(metering: Metering) -> str:
    tables = await metering.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return "\n".join([str(await metering.fetch(f"SELECT t::text FROM {row['relname']} t")) for row in tables])


async def test_an_erasure_reaches_every_state_and_leaves_credits_alone(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 2})
    held, settled, released, other = (
        event(userId=USER),
        event(userId=USER),
        event(userId=USER),
        event(userId="another"),
    )
    await metering.authorize(held, settled, released, other)
    await metering.settle(settled)
    await metering.release(released)
    before = await metering.balance("acme")
    assert USER in await everything(metering)
    assert await erase(metering) == {"events": 2}
    assert USER not in await everything(metering)
    assert "another" in await everything(metering)
    assert await find_nobody(metering) == "--user: client acme has nothing of this user here"
    assert await metering.balance("acme") == before == (10, 2, 4, 4)
    actions = await metering.fetch(
        "SELECT action, target, detail FROM admin_audit WHERE action = 'erase_user' ORDER BY 1"
    )
    assert [(row["target"], orjson.loads(row["detail"])["events"]) for row in actions] == [("acme", 2)]


PLACES_OF_USERS = {"counter", "hold", "ledger_entry", "notice", "refusal", "shadow_counter"}


async def test_every_column_for_a_user_is_one_that_is_handed_out_and_that_an_erasure_empties(
    metering: Metering,
) -> None:
    """A new one is in this list, and in this life of a user, or the test fails."""
    rows = await metering.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name LIKE '%user%' AND table_name NOT LIKE '\\_yoyo%'"
    )
    assert {row["table_name"] for row in rows} == PLACES_OF_USERS
    quota = {"name": "daily", "limit": 4, "period": "day", "per": "user"}
    terms: dict[str, Any] = {"prices": {"*": 0}, "quotas": [quota]}
    await metering.admin("PUT", "/internal/policies/beside", terms)
    await metering.give("acme", **terms, notices=[{"of": "quota:daily", "at": [0.25]}])
    body = {"policyId": "of-acme", "shadow": "beside"}
    await metering.admin("PUT", "/internal/clients/acme/policy", body)
    attempts = [event(userId=USER) for _ in range(5)]
    await metering.authorize(*attempts)
    await metering.settle(attempts[0])
    async with asyncio.timeout(30):
        while await list_places(metering, USER) != PLACES_OF_USERS:
            pass
    who = ("users", "export", "--client", "acme", "--user", USER)
    handed_out = orjson.loads((await run_command("metering", metering.dsn, *who)).output)
    kinds = ("charges", "holds", "quotas", "refusals", "shadow_quotas", "notices")
    assert [len(handed_out[kind]) for kind in kinds] == [1, 3, 1, 1, 1, 1]
    assert handed_out["charges"][0]["event_id"] == attempts[0]["eventId"]
    assert handed_out["refusals"][0]["first_receipt"]["gates"]["quotas"][0]["usedBefore"] == 4
    await erase(metering)
    assert USER not in await everything(metering)
    done = await run_command("metering", metering.dsn, *who)
    assert (done.code, done.output) == (1, "")


async def list_places(metering: Metering, user_id: str) -> set[str]:
    statement = "SELECT count(*) FROM {} WHERE user_id = $1"
    return {
        table for table in PLACES_OF_USERS if (await metering.fetch(statement.format(table), user_id))[0]["count"]
    }


async def test_erasing_in_a_client_that_nobody_knows_makes_no_client(metering: Metering) -> None:
    await metering.give("acme")
    assert await find_nobody(metering, client_id="acne") == "Client acne is not known; did you mean acme?"
    assert [row["client_id"] for row in await metering.fetch("SELECT client_id FROM account")] == ["acme"]


async def test_whoever_is_named_again_it_is_the_same_event_and_nobody_comes_back(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 2})
    attempt = event(userId=USER)
    await metering.authorize(attempt)
    await erase(metering)
    for user in (USER, "erased-5d5d"):
        [decision] = await metering.authorize({**attempt, "userId": user})
        assert (decision["decision"], decision["holdId"]) == ("granted", attempt["holdId"])
        [decision] = await metering.authorize(again(attempt, userId=user))
        assert (decision["decision"], decision["holdId"]) == ("granted", attempt["holdId"])
        [result] = await metering.settle({**attempt, "userId": user})
        assert (result["state"], result["credits"], result["late"]) == ("settled", 2, False)
    assert USER not in await everything(metering)
    assert await metering.balance("acme") == (10, 2, 0, 8)
    assert len(await metering.spends("acme")) == 1


async def test_held_events_are_told_without_the_person(metering: Metering) -> None:
    attempt = event(userId=USER)
    await metering.authorize(attempt)
    await erase(metering)
    status, page = await metering.call("GET", "/internal/events?state=held&olderThanSeconds=0&limit=10")
    assert status == 200
    assert [found["holdId"] for found in page["events"]] == [attempt["holdId"]]
    assert "userId" not in page["events"][0]


async def test_another_user_named_for_a_user_who_is_not_erased_is_still_a_conflict(metering: Metering) -> None:
    attempt, nobody = event(userId=USER), event()
    await metering.authorize(attempt, nobody)
    await find_nobody(metering, user_id="another")
    await find_nobody(metering, client_id="other-client")
    for wrong in ({**attempt, "userId": "another"}, again(attempt, userId="another"), {**nobody, "userId": USER}):
        assert [decision["decision"] for decision in await metering.authorize(wrong)] == ["conflict"]
        assert [result["state"] for result in await metering.settle(wrong)] == ["conflict"]


async def test_an_erasure_takes_the_account_first_as_every_charge_does(metering: Metering) -> None:
    """Else a settle, which has the account and wants the hold, and the erasure wait for each other."""
    await metering.give("acme", grant=10)
    await metering.authorize(attempt := event(userId=USER))
    connection = await asyncpg.connect(metering.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT lock_accounts('{acme}')")
            erasing = asyncio.create_task(erase(metering))
            async with asyncio.timeout(30):
                while not await metering.fetch(
                    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                ):
                    assert not erasing.done()
            lock = "SELECT FROM hold WHERE hold_id = $1 FOR NO KEY UPDATE NOWAIT"
            await connection.execute(lock, attempt["holdId"])
    finally:
        await connection.close()
    assert await erasing == {"events": 1}
