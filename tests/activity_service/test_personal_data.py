"""One person's data: handed out whole, erased whole, and what was charged stays charged."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from activity_service.audit.run import AuditPlays
from activity_service.errors import NobodyFound, NotYetCharged
from activity_service.privacy.personal_data import PersonalData
from service_chassis.clock import system_clock
from tests.activity_service.activity import Activity
from tests.activity_service.metering_double import Hold
from tests.operator_command import Done, run_command

MARKED = {
    "email": "marked-1@example.org",
    "displayName": "Marked 2",
    "photoURL": "https://example.org/marked-3.png",
}


async def create_marked(activity: Activity, **options: Any) -> dict[str, Any]:
    return await activity.create_play(userId="marked-user", **MARKED, **options)


async def erase(activity: Activity, user_id: str = "marked-user") -> dict[str, Any]:
    return await PersonalData(activity.serving_pool).erase("client-a", user_id, actor="ops")


async def charged(activity: Activity, count: int) -> None:
    """Wait until metering has charged `count` events, whoever settled them."""
    async with asyncio.timeout(10):
        while len(activity.metering.charges) < count:
            await activity.settle_all()


async def everything(activity: Activity) -> str:
    tables = [await activity.rows(name) for name in ("plan_play", "billable_event")]
    return repr(tables)


async def test_an_export_holds_all_there_is_of_one_user_and_nothing_of_others(activity: Activity) -> None:
    activity.metering.says["settle"] = (503, b"")
    play = await create_marked(activity, key="k1")
    user_token = activity.issuer.issue(user="marked-user")
    await activity.create_play(token=user_token, key="k2")
    await activity.create_play(userId="another")
    await activity.create_play(token=activity.issuer.issue("client-b"), userId="marked-user")
    exported = await PersonalData(activity.serving_pool).export("client-a", "marked-user")
    document = orjson.loads(orjson.dumps(exported, default=str))
    assert [row["email"] for row in document["planPlays"]] == [MARKED["email"], None]
    assert document["planPlays"][0]["id"] == play["id"]
    assert {row["client_id"] for row in document["planPlays"]} == {"client-a"}
    assert len(document["billableEvents"]) == 2
    with pytest.raises(NobodyFound):
        await PersonalData(activity.serving_pool).export("client-a", "nobody")


async def test_an_erasure_leaves_the_facts_and_the_bills_and_nothing_of_the_person(activity: Activity) -> None:
    play = await create_marked(activity, key="marked-key")
    assert (await activity.update(play["id"], status="ended")).status == 200
    other = await activity.create_play(userId="another", **{**MARKED, "email": "kept@example.org"})
    await charged(activity, 3)
    charges = dict(activity.metering.charges)
    erasure = await erase(activity)
    assert (erasure["planPlays"], erasure["billableEvents"]) == (1, 0)
    written = await everything(activity)
    assert "marked-user" not in written
    assert "marked-1" not in written
    assert "marked-key" not in written
    reply = await activity.read(play["id"])
    assert reply.play == {
        **play,
        "status": "ended",
        "userId": erasure["pseudonym"],
        "email": None,
        "displayName": None,
        "photoURL": None,
        "updatedAt": reply.play["updatedAt"],
        "completedAt": reply.play["completedAt"],
    }
    assert (await activity.read(other["id"])).play == other
    assert activity.metering.charges == charges
    report = await AuditPlays(activity.pool, system_clock() + timedelta(hours=1), 0).check_outbox()
    assert (report.is_sound, report.unfinished_count) == (True, 0)
    # The user's own token finds nothing of it any more; ending again bills nothing.
    own = activity.issuer.issue(user="marked-user")
    assert (await activity.list_plays(token=own)).json == {"data": [], "count": 0}
    assert (await activity.update(play["id"], status="ended")).status == 200
    await activity.settle_all()
    assert activity.metering.charges == charges


async def test_an_erased_users_key_is_refused_by_name_and_creates_no_second_play(activity: Activity) -> None:
    await create_marked(activity, key="k")
    await charged(activity, 1)
    await erase(activity)
    charges = dict(activity.metering.charges)
    for user in ("marked-user", "another"):
        reply = await activity.create(key="k", userId=user, **MARKED)
        assert (reply.status, reply.json["details"][0]["field"]) == (400, "Idempotency-Key")
    await activity.settle_all()
    assert len(await activity.rows("plan_play")) == 1
    assert activity.metering.charges == charges


async def test_nothing_is_erased_while_something_is_not_charged(activity: Activity) -> None:
    activity.metering.says["settle"] = (500, b"")
    await create_marked(activity)
    before = await activity.rows("plan_play")
    with pytest.raises(NotYetCharged, match="1 of the user's events"):
        await erase(activity)
    assert await activity.rows("plan_play") == before
    assert [row["user_id"] for row in await activity.rows("billable_event")] == ["marked-user"]


async def test_operators_export_and_erase_with_a_trace_that_names_nobody(
    activity: Activity, activity_dsn: str
) -> None:
    await create_marked(activity)
    await charged(activity, 1)

    async def users(verb: str, *options: str) -> Done:
        who = ("--client", "client-a", "--user", "marked-user")
        return await run_command("activity", activity_dsn, "users", verb, *who, *options)

    done = await users("export")
    assert done.code == 0, done.trace
    assert orjson.loads(done.output)["planPlays"][0]["email"] == MARKED["email"]
    assert orjson.loads(done.trace)["event"] == "user_exported"
    assert (await users("erase")).code == 1  # nobody was there to say yes
    done = await users("erase", "--yes", "--json")
    assert (done.code, orjson.loads(done.output)["planPlays"]) == (0, 1)
    assert orjson.loads(done.trace)["event"] == "user_erased"
    assert "arked" not in done.output + done.trace
    trail = await run_command("activity", activity_dsn, "admin-audit", "client-a", "--json")
    [line] = orjson.loads(trail.output)
    assert (line["actor"], line["action"], line["target"]) == ("command line", "erase_user", "client-a")
    assert line["detail"] == {"planPlays": 1, "billableEvents": 0}
    for again in (await users("export"), await users("erase", "--yes")):
        assert (again.code, again.output) == (1, "")
        assert again.trace == "activity_service: --user: client client-a has nothing of this person here\n"


async def test_another_clients_user_of_the_same_id_is_left_alone(activity: Activity) -> None:
    other = await activity.create_play(token=activity.issuer.issue("client-b"), userId="marked-user", **MARKED)
    await charged(activity, 1)
    with pytest.raises(NobodyFound):
        await erase(activity)
    assert (await activity.read(other["id"], token=activity.issuer.issue("client-b"))).play == other


async def test_a_create_under_way_brings_the_person_back_until_the_next_erasure(activity: Activity) -> None:
    gate = activity.metering.answered["authorize"]
    gate.close()
    paused = asyncio.create_task(create_marked(activity, key="marked-key"))
    await gate.reached.wait()
    with pytest.raises(NobodyFound):
        await erase(activity)
    gate.open()
    await paused
    await charged(activity, 1)
    erasure = await erase(activity)
    assert (erasure["planPlays"], erasure["billableEvents"]) == (1, 0)
    assert "marked" not in await everything(activity)
    assert (await AuditPlays(activity.pool, system_clock(), 0).check_outbox()).is_sound


async def test_a_completion_under_way_does_not_name_a_user_who_is_erased_meanwhile(activity: Activity) -> None:
    play = await create_marked(activity)
    await charged(activity, 1)
    gate = activity.metering.answered["authorize"]
    gate.close()
    paused = asyncio.create_task(activity.update(play["id"], status="ended"))
    await gate.reached.wait()
    await erase(activity)
    gate.open()
    assert (await paused).status == 404
    await activity.components.billing.sweeper.finish()
    assert "marked" not in await everything(activity)
    assert activity.metering.states() == ["released", "settled"]
    assert (await activity.update(play["id"], status="ended")).status == 200
    await charged(activity, 2)
    assert (await AuditPlays(activity.pool, system_clock(), 0).check_outbox()).is_sound
    with pytest.raises(NobodyFound):
        await erase(activity)


async def test_a_hold_resolved_between_the_two_services_erasures_does_not_bring_the_id_back(
    activity: Activity,
) -> None:
    activity.metering.holds[str(uuid.uuid4())] = Hold(
        {
            "eventId": f"plan_play.created:{uuid.uuid4()}",
            "clientId": "client-a",
            "eventType": "plan_play.created",
            "userId": "marked-user",
            "units": 1,
        }
    )
    with pytest.raises(NobodyFound):
        await erase(activity)
    await activity.sweep()
    assert activity.metering.states() == ["released"]
    assert await activity.outcomes() == ["abandoned"]
    assert "marked" not in await everything(activity)


async def test_plays_without_a_user_are_found_by_the_address_that_they_hold(activity: Activity) -> None:
    await activity.create_play(key="k1", **MARKED)
    await activity.create_play(**{**MARKED, "email": "kept@example.org"})
    await create_marked(activity)
    data = PersonalData(activity.serving_pool)
    [found] = (await data.export_email("client-a", MARKED["email"].upper()))["planPlays"]
    assert (found["email"], found["user_id"]) == (MARKED["email"], None)
    assert (await data.erase_email("client-a", MARKED["email"], actor="ops"))["planPlays"] == 1
    for nobody in (
        data.erase_email("client-a", MARKED["email"], actor="ops"),
        data.export_email("client-b", MARKED["email"]),
    ):
        with pytest.raises(NobodyFound):
            await nobody
    [line] = await activity.rows("admin_audit")
    assert (line["actor"], line["action"], line["detail"]) == ("ops", "erase_email", '{"planPlays": 1}')
    rows = {row["email"] for row in await activity.rows("plan_play")}
    assert rows == {None, "kept@example.org", MARKED["email"]}  # the last one is a user's, and the user's to erase
    assert (await activity.create(key="k1", **MARKED)).status == 400


async def test_an_erasure_that_meets_a_change_the_other_way_round_is_done_again(
    activity: Activity, activity_dsn: str
) -> None:
    first, second = [await create_marked(activity) for _ in range(2)]
    await charged(activity, 2)
    other = await asyncpg.connect(activity_dsn)
    try:
        async with other.transaction():
            lock = "SELECT FROM plan_play WHERE id = $1 FOR UPDATE"
            await other.execute("SET LOCAL deadlock_timeout = '10s'")
            await other.execute(lock, second["id"])
            erasing = asyncio.create_task(erase(activity))
            await waits_for_a_lock(other)
            await other.execute(lock, first["id"])
    finally:
        await other.close()
    assert (await erasing)["planPlays"] == 2


async def waits_for_a_lock(connection: asyncpg.Connection) -> None:
    for _ in range(500):
        if await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a lock")
