"""The second wall: a statement that forgets its client finds and changes nothing, and writes for nobody else."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from activity_service.api.plan_plays import LIST_PLAN_PLAYS
from activity_service.plays.plan_play import PlanPlayChanges, PlanPlayFilter
from activity_service.plays.store import POOL_SETTINGS, PlanPlayStore
from service_chassis.clock import system_clock
from service_chassis.database.pool import create_pool
from service_chassis.database.tenancy import ALL_CLIENTS, act_for
from tests.activity_service.activity import Activity

ROLE = "activity_service"
TABLES = ["plan_play", "billable_event", "idempotency_key"]
FORGETFUL = [
    *(f"SELECT * FROM {table}" for table in TABLES),
    *(f"DELETE FROM {table} RETURNING *" for table in reversed(TABLES)),
    "UPDATE plan_play SET status = 'paused' RETURNING *",
    "UPDATE billable_event SET attempts = 1 RETURNING *",
    "SELECT * FROM plan_play FOR UPDATE",
    "SELECT event_id FROM billable_event UNION ALL SELECT key FROM idempotency_key",
]


@pytest.fixture
async def walled(activity: Activity, activity_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the service's own, beside plays of two clients."""
    for client in ("client-a", "client-b"):
        await activity.create_play(token=activity.issuer.issue(client), key="k", userId="user-1")
    pool = await create_pool(activity_dsn, size=2, application_name="test", settings=POOL_SETTINGS, role=ROLE)
    yield pool
    await pool.close()


async def test_the_service_owns_nothing_and_bypasses_nothing(activity: Activity) -> None:
    for name in ("_pool", "_stream_pool"):
        async with getattr(activity.app[LIST_PLAN_PLAYS]._store, name).acquire() as connection:
            assert await connection.fetchval("SELECT current_user") == ROLE
    assert not await activity.pool.fetchval(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = $1", ROLE
    )
    owned = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = $1"
    assert await activity.pool.fetchval(owned, ROLE) == 0


async def test_every_table_that_names_a_client_is_behind_the_wall(activity: Activity) -> None:
    rows = await activity.pool.fetch(
        """
        SELECT DISTINCT relname, relrowsecurity FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'client_id'
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        """
    )
    assert {row["relname"] for row in rows if row["relrowsecurity"]} == {row["relname"] for row in rows} == {*TABLES}


@pytest.mark.parametrize("statement", FORGETFUL)
async def test_a_statement_that_forgets_its_client_finds_nothing(walled: asyncpg.Pool, statement: str) -> None:
    assert await walled.fetch(statement) == []


@pytest.mark.parametrize("statement", FORGETFUL[:8])
async def test_a_statement_that_names_no_client_stays_within_the_one_it_acts_for(
    walled: asyncpg.Pool, statement: str
) -> None:
    async with walled.acquire() as connection, connection.transaction():
        await act_for(connection, "client-a")
        rows = await connection.fetch(statement)
        assert {row["client_id"] for row in rows} == {"client-a"}


async def test_a_row_cannot_be_written_or_moved_to_another_client(walled: asyncpg.Pool) -> None:
    event = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        VALUES (gen_random_uuid(), 'e', 'happened', 'client-b', 't', 1, now(), now())
    """
    for statement in (event, "UPDATE plan_play SET client_id = 'client-b'"):
        async with walled.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await act_for(connection, "client-a")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
            await transaction.rollback()


async def test_the_client_is_forgotten_with_its_transaction(walled: asyncpg.Pool) -> None:
    async with walled.acquire() as connection:
        async with connection.transaction():
            await act_for(connection, "client-a")
            assert await connection.fetchval("SELECT count(*) FROM plan_play") == 1
        assert await connection.fetchval("SELECT count(*) FROM plan_play") == 0
        store = PlanPlayStore(walled, walled)
        play_id = (await store.list_plan_plays(PlanPlayFilter("client-a"), 1))[0].id
        assert await store.fetch_plan_play("client-a", play_id)
        assert await connection.fetchval("SELECT count(*) FROM plan_play") == 0


async def test_another_clients_play_is_beyond_every_statement_of_the_store(walled: asyncpg.Pool) -> None:
    store = PlanPlayStore(walled, walled)
    [other] = await store.list_plan_plays(PlanPlayFilter("client-b"), 10)
    assert await store.fetch_plan_play("client-a", other.id) is None
    assert await store.update_plan_play("client-a", other.id, PlanPlayChanges("paused"), system_clock()) is None
    assert await store.exists_for_anybody(other.id)
    assert await store.fetch_plan_play("client-b", other.id) == other


@pytest.mark.parametrize("value", ["", "nobody", "client-a,client-b", "%", "client-a' OR '1'='1"])
async def test_a_client_that_is_nobody_has_nothing(walled: asyncpg.Pool, value: str) -> None:
    async with walled.acquire() as connection, connection.transaction():
        await act_for(connection, value)
        for table in TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_only_connections_opened_for_all_clients_see_all(activity_dsn: str, walled: asyncpg.Pool) -> None:
    wide: Any = await create_pool(activity_dsn, size=1, application_name="test", settings=ALL_CLIENTS, role=ROLE)
    async with wide:
        assert await wide.fetchval("SELECT count(DISTINCT client_id) FROM plan_play") == 2
    assert await walled.fetchval("SELECT count(DISTINCT client_id) FROM plan_play") == 0


async def test_the_service_can_change_no_table_and_drop_no_wall(walled: asyncpg.Pool) -> None:
    for statement in (
        "ALTER TABLE plan_play DISABLE ROW LEVEL SECURITY",
        "DROP POLICY one_client ON plan_play",
        "CREATE POLICY mine ON plan_play USING (true)",
        "TRUNCATE plan_play CASCADE",
        "DROP TABLE idempotency_key",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await walled.execute(statement)
