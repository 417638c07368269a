"""The second isolation: a statement that forgets its client finds and changes nothing, and writes for nobody else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from activity_service.errors import PlanPlayNotFound
from activity_service.plays.plan_play import PlanPlayFilter
from activity_service.plays.store import POOL_SETTINGS, PlanPlayStore
from service_chassis.clock import system_clock
from service_chassis.database.pool import open_pool
from service_chassis.database.tenancy import ALL_CLIENTS, act_for, begin_for, check_row_security
from tests.activity_service.activity import Activity

ROLE = "activity_service"
TABLES = ["plan_play", "billable_event"]
FORGETFUL = [
    *(f"SELECT * FROM {table}" for table in TABLES),
    *(f"DELETE FROM {table} RETURNING *" for table in reversed(TABLES)),
    "UPDATE plan_play SET status = 'paused' RETURNING *",
    "UPDATE billable_event SET attempts = 1 RETURNING *",
    "SELECT * FROM plan_play FOR UPDATE",
    "SELECT event_id FROM billable_event UNION ALL SELECT plan_id FROM plan_play",
]


@pytest.fixture
async def isolated(activity: Activity, activity_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the service's own, beside plays of two clients whose charges wait."""
    activity.metering.says["settle"] = (503, b"")
    for client in ("client-a", "client-b"):
        await activity.create_play(token=activity.issuer.issue(client), key="k", userId="user-1")
    async with open_pool(activity_dsn, size=2, application_name="test", settings=POOL_SETTINGS, role=ROLE) as pool:
        yield pool


async def test_the_service_owns_nothing_and_bypasses_nothing(activity: Activity) -> None:
    for pool in (activity.components.pool, activity.components.billing.relay.pool):
        assert await pool.fetchval("SELECT current_user") == ROLE
    assert not await activity.pool.fetchval(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = $1", ROLE
    )
    owned = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = $1"
    assert await activity.pool.fetchval(owned, ROLE) == 0


async def test_every_table_that_names_a_client_is_isolated(activity: Activity) -> None:
    rows = await activity.pool.fetch(
        """
        SELECT DISTINCT relname, relrowsecurity FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'client_id'
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        """
    )
    assert {row["relname"] for row in rows if row["relrowsecurity"]} == {row["relname"] for row in rows} == {*TABLES}


@pytest.mark.parametrize("statement", FORGETFUL)
async def test_a_statement_that_forgets_its_client_finds_nothing(isolated: asyncpg.Pool, statement: str) -> None:
    assert await isolated.fetch(statement) == []


@pytest.mark.parametrize("statement", FORGETFUL[:6])
async def test_a_statement_that_names_no_client_stays_within_the_one_it_acts_for(
    isolated: asyncpg.Pool, statement: str
) -> None:
    async with isolated.acquire() as connection, connection.transaction():
        await act_for(connection, "client-a")
        rows = await connection.fetch(statement)
        assert {row["client_id"] for row in rows} == {"client-a"}


async def test_a_row_cannot_be_written_or_moved_to_another_client(isolated: asyncpg.Pool) -> None:
    event = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        VALUES (gen_random_uuid(), 'e', 'happened', 'client-b', 't', 1, now(), now())
    """
    for statement in (event, "UPDATE plan_play SET client_id = 'client-b'"):
        async with isolated.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await act_for(connection, "client-a")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
            await transaction.rollback()


async def test_the_client_is_forgotten_with_its_transaction(isolated: asyncpg.Pool) -> None:
    async with isolated.acquire() as connection:
        async with connection.transaction():
            await act_for(connection, "client-a")
            assert await connection.fetchval("SELECT count(*) FROM plan_play") == 1
        assert await connection.fetchval("SELECT count(*) FROM plan_play") == 0
        store = PlanPlayStore(connection)
        play_id = (await store.list_plan_plays(PlanPlayFilter("client-a"), 1))[0].id
        assert await store.fetch_plan_play("client-a", play_id)
        assert await connection.fetchval("SELECT count(*) FROM plan_play") == 0


async def test_another_clients_play_is_beyond_every_statement_of_the_store(isolated: asyncpg.Pool) -> None:
    async with isolated.acquire() as connection:
        store = PlanPlayStore(connection)
        [other] = await store.list_plan_plays(PlanPlayFilter("client-b"), 10)
        assert await store.fetch_plan_play("client-a", other.id) is None
        assert await store.exists_for_anybody(other.id)
    for client in ("client-a", "client-b"):
        async with begin_for(isolated, "client-a") as connection:
            change = PlanPlayStore(connection).update_plan_play
            with pytest.raises(PlanPlayNotFound):
                await change(client, other.id, {"status": "paused"}, system_clock())
    async with isolated.acquire() as connection:
        assert await PlanPlayStore(connection).fetch_plan_play("client-b", other.id) == other


@pytest.mark.parametrize("value", ["", "nobody", "client-a,client-b", "%", "client-a' OR '1'='1"])
async def test_a_client_that_is_nobody_has_nothing(isolated: asyncpg.Pool, value: str) -> None:
    async with isolated.acquire() as connection, connection.transaction():
        await act_for(connection, value)
        for table in TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_only_connections_opened_for_all_clients_see_all(activity_dsn: str, isolated: asyncpg.Pool) -> None:
    async with open_pool(activity_dsn, size=1, application_name="test", settings=ALL_CLIENTS, role=ROLE) as wide:
        assert await wide.fetchval("SELECT count(DISTINCT client_id) FROM plan_play") == 2
    assert await isolated.fetchval("SELECT count(DISTINCT client_id) FROM plan_play") == 0


async def test_the_service_can_change_no_table_and_end_no_isolation(isolated: asyncpg.Pool) -> None:
    for statement in (
        "ALTER TABLE plan_play DISABLE ROW LEVEL SECURITY",
        "DROP POLICY one_client ON plan_play",
        "CREATE POLICY mine ON plan_play USING (true)",
        "TRUNCATE plan_play CASCADE",
        "DROP TABLE billable_event",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await isolated.execute(statement)


@pytest.mark.parametrize(("given", "role"), [({}, ""), (ALL_CLIENTS, ROLE)])
async def test_a_session_that_sees_all_clients_may_not_act_for_one(
    isolated: asyncpg.Pool, activity_dsn: str, given: dict[str, str], role: str
) -> None:
    """The owner's session, or one for shared batches: a pooler can hand out either where it should not."""
    async with open_pool(activity_dsn, size=1, application_name="test", settings=given, role=role) as wide:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="may not act for one client"):
            async with begin_for(wide, "client-a"):
                pass
        async with wide.acquire() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="may not act for one client"):
                await PlanPlayStore(connection).list_plan_plays(PlanPlayFilter("client-a"), 10)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await check_row_security(wide)
    await check_row_security(isolated)
