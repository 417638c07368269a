"""The second wall: a statement that forgets its client finds no plan, and can write for nobody else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from catalog_service.components import COMPONENTS
from catalog_service.errors import PlanNotFound
from catalog_service.plans.store import PlanStore
from service_chassis.database.pool import open_pool
from service_chassis.database.tenancy import begin_for
from tests.catalog_service.catalog import PLAN, Catalog

ROLE = "catalog_service"


@pytest.fixture
async def walled(catalog: Catalog, catalog_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the service's own, beside plans of two clients."""
    for client_id in ("acme", "other"):
        await catalog.sync(await catalog.token(client_id), **PLAN)
    async with open_pool(catalog_dsn, size=1, application_name="test", role=ROLE) as pool:
        yield pool


async def test_the_service_owns_nothing_and_bypasses_nothing(catalog: Catalog) -> None:
    assert await catalog.app[COMPONENTS].plans.pool.fetchval("SELECT current_user") == ROLE
    assert not await catalog.pool.fetchval(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = $1", ROLE
    )
    owned = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = $1"
    assert await catalog.pool.fetchval(owned, ROLE) == 0


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM plan", "UPDATE plan SET color = 'red' RETURNING *", "DELETE FROM plan RETURNING *"]
)
async def test_a_statement_that_forgets_its_client_finds_nothing(walled: asyncpg.Pool, statement: str) -> None:
    assert await walled.fetch(statement) == []
    async with begin_for(walled, "acme") as connection:
        assert {row["client_id"] for row in await connection.fetch(statement)} == {"acme"}


async def test_a_plan_cannot_be_written_or_moved_to_another_client(walled: asyncpg.Pool) -> None:
    for statement in (
        "UPDATE plan SET client_id = 'other', plan_id = 'x'",
        "INSERT INTO plan SELECT 'other', 'x', '', '', '', '', '[]', '[]', now(), now()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with begin_for(walled, "acme") as connection:
                await connection.execute(statement)


async def test_reads_leave_the_client_behind(walled: asyncpg.Pool) -> None:
    async with walled.acquire() as connection:
        version, unread = await PlanStore(connection).list_plans("acme", None)
        [plan] = unread.read()
        assert version == 1
        plan_id = plan.plan_id
        assert await PlanStore(connection).fetch_plan("acme", plan_id)
        with pytest.raises(PlanNotFound):
            await PlanStore(connection).fetch_plan("other", plan_id)
        assert await connection.fetch("SELECT * FROM plan") == []


async def test_the_service_can_drop_no_wall(walled: asyncpg.Pool) -> None:
    for statement in (
        "ALTER TABLE plan DISABLE ROW LEVEL SECURITY",
        "DROP POLICY one_client ON plan",
        "TRUNCATE plan",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await walled.execute(statement)
