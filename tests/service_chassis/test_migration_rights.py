"""Migrations in databases of others, and by those who may not do everything: told in words, nothing changed."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from prove.breakable_stack import schema_of
from service_chassis.database.migrations import AnothersDatabase, Schema, apply_schema, check_schema
from service_chassis.database.pool import open_pool
from service_chassis.database.session import SessionNotAsAsked
from service_chassis.database.tenancy import check_row_security
from service_chassis.errors import OperatorError
from tests.operator_command import run_command

SERVICES = frozenset({"catalog", "activity", "metering"})


@pytest.fixture
def managed(empty_database: Callable[[], str]) -> Callable[[str], str]:
    """Make a database whose owner is no superuser but has `rights`; return its URL."""

    def make(rights: str) -> str:
        dsn = empty_database()
        name = conninfo_to_dict(dsn)["dbname"]
        owner = f"owner_of_{name}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {owner} LOGIN {rights} PASSWORD 'x'")
            connection.execute(f"ALTER DATABASE {name} OWNER TO {owner}")
        return of_user(dsn, owner)

    return make


def of_user(dsn: str, user: str) -> str:
    parts = conninfo_to_dict(dsn)
    return f"postgresql://{user}:x@{parts['host']}:{parts['port']}/{parts['dbname']}"


async def act(dsn: str, role: str) -> str:
    async with open_pool(dsn, size=1, application_name="test", role=role) as pool, pool.acquire() as connection:
        return str(await connection.fetchval("SELECT current_user"))


def name_role(dsn: str) -> str:
    return f"acting_in_{conninfo_to_dict(dsn)['dbname']}"


async def test_an_owner_that_may_make_roles_leaves_one_that_can_be_acted_as(
    directory: Path, managed: Callable[[str], str]
) -> None:
    dsn = managed("CREATEROLE")
    apply_schema(dsn, Schema.of(directory, name_role(dsn)))
    assert await act(dsn, name_role(dsn)) == name_role(dsn)


@pytest.mark.parametrize("is_there", [False, True])
async def test_an_owner_that_may_not_is_told_what_a_superuser_must_run(
    directory: Path, managed: Callable[[str], str], empty_database: Callable[[], str], is_there: bool
) -> None:
    dsn = managed("CREATEDB")
    role = name_role(dsn)
    with psycopg.connect(empty_database(), autocommit=True) as superuser:
        if is_there:
            superuser.execute(f"CREATE ROLE {role} NOLOGIN")
        with pytest.raises(OperatorError) as refused:
            apply_schema(dsn, Schema.of(directory, role))
        assert ("CREATE ROLE" in str(refused.value)) is not is_there
        superuser.execute(str(refused.value).partition("must run: ")[2])
    apply_schema(dsn, Schema.of(directory, role))
    assert await act(dsn, role) == role


async def test_a_role_of_the_operators_choice_is_made_and_has_the_rights_of_the_services_own(
    empty_database: Callable[[], str],
) -> None:
    for service, table in (("catalog", "plan"), ("activity", "plan_play")):
        dsn = empty_database()
        role = name_role(dsn)
        done = await run_command(service, dsn, "migrate", **{f"{service.upper()}_POSTGRES_ROLE": role})
        assert done.code == 0, done.trace
        assert (await run_command(service, dsn, "migrate", **{f"{service.upper()}_POSTGRES_ROLE": role})).code == 0
        async with open_pool(dsn, size=1, application_name="test", role=role) as pool:
            await check_schema(pool, schema_of(f"{service}_service"))
            assert await pool.fetch(f"SELECT * FROM {table}") == []
            assert await pool.fetchval("SELECT row_security_active($1)", table)


def test_an_owner_that_may_not_arrange_the_operators_role_needs_a_superuser_once(
    directory: Path, managed: Callable[[str], str], empty_database: Callable[[], str]
) -> None:
    dsn = managed("")
    role, acting_role = name_role(dsn), f"another_{name_role(dsn)}"
    with psycopg.connect(empty_database(), autocommit=True) as superuser:
        for _ in range(2):  # one role after the other
            with pytest.raises(OperatorError) as refused:
                apply_schema(dsn, Schema.of(directory, role), acting_role=acting_role)
            superuser.execute(str(refused.value).partition("must run: ")[2])
    for _ in range(2):
        apply_schema(dsn, Schema.of(directory, role), acting_role=acting_role)


async def test_a_role_that_sees_all_rows_is_refused(directory: Path, empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    role = name_role(dsn)
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {role} BYPASSRLS")
    for schema, acting_role in ((Schema.of(directory, role), ""), (Schema.of(directory, "pg_monitor"), role)):
        with pytest.raises(OperatorError, match="row-level security"):
            apply_schema(dsn, schema, acting_role=acting_role)


def test_who_may_make_no_tables_is_told_which_right_is_missing(
    directory: Path, managed: Callable[[str], str], empty_database: Callable[[], str]
) -> None:
    owned = managed("")
    user, dsn = conninfo_to_dict(owned)["user"], empty_database()
    with pytest.raises(OperatorError) as refused:
        apply_schema(of_user(dsn, str(user)), Schema.of(directory))
    command = str(refused.value).partition("must run: ")[2]
    assert command == f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{user}"'
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute(command)
    assert apply_schema(of_user(dsn, str(user)), Schema.of(directory)) == ["0001_first", "0002_second"]


@pytest.mark.parametrize("is_migrated", [False, True], ids=["empty", "migrated"])
def test_a_database_that_takes_no_writes_is_told_as_such(
    directory: Path, empty_database: Callable[[], str], is_migrated: bool
) -> None:
    dsn = empty_database()
    if is_migrated:
        apply_schema(dsn, Schema.of(directory))
    with psycopg.connect(dsn, autocommit=True) as superuser:
        name = conninfo_to_dict(dsn)["dbname"]
        superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        apply_schema(dsn, Schema.of(directory))


def snapshot(dsn: str) -> list[object]:
    """Return what migrations may change: functions as noted, tables and functions as they are, roles."""
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(statement).fetchall()
            for statement in (
                "SELECT * FROM sql_function ORDER BY 1",
                "SELECT migration_id FROM _yoyo_migration ORDER BY 1",
                "SELECT oid, relname FROM pg_class ORDER BY 1",
                "SELECT oid, proname FROM pg_proc ORDER BY 1",
            )
        ]


async def test_another_services_database_is_refused_and_left_as_it_is(fresh_database: Callable[[str], str]) -> None:
    for owner in SERVICES:
        dsn = fresh_database(f"{owner}_service")
        before = snapshot(dsn)
        for other in SERVICES - {owner}:
            done = await run_command(other, dsn, "migrate")
            assert done.code == 1
            [said] = done.trace.splitlines()
            assert said.startswith(f"{other}_service: {other.upper()}_POSTGRES_DSN names the database of another")
            async with open_pool(dsn, size=1, application_name="test") as pool:
                with pytest.raises(AnothersDatabase):
                    await check_schema(pool, schema_of(f"{other}_service"))
        assert snapshot(dsn) == before


def test_no_two_services_begin_with_the_same_migration() -> None:
    """By its first migration a database is known."""
    assert len({min(schema_of(f"{service}_service").migrations) for service in SERVICES}) == len(SERVICES)


async def test_a_role_that_is_not_there_is_told_as_such_and_not_as_the_options_of_the_url(
    empty_database: Callable[[], str],
) -> None:
    async with open_pool(empty_database(), size=1, application_name="test", role="nobody_is_called_so") as pool:
        with pytest.raises(SessionNotAsAsked, match=r"no role nobody_is_called_so.*_POSTGRES_ROLE.*migrate"):
            async with pool.acquire():
                pass


async def test_a_database_restored_without_its_rights_is_not_ready_and_migrate_says_what_to_run(
    fresh_database: Callable[[str], str],
) -> None:
    for service, table in (("catalog", "plan"), ("activity", "plan_play")):
        dsn, role = fresh_database(f"{service}_service"), f"{service}_service"
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute(f"REVOKE ALL ON {table} FROM {role}")
            async with open_pool(dsn, size=1, application_name="test", role=role) as pool:
                with pytest.raises(RuntimeError, match=f"^no right to use {table}$"):
                    await check_row_security(pool)
                done = await run_command(service, dsn, "migrate")
                assert done.code == 1
                [said] = done.trace.splitlines()
                assert said.startswith(f"{service}_service: {role} may not use {table}: ")
                assert said.endswith(
                    f"Run the GRANT lines of {service}_service/migrations again, as the tables' owner"
                )
                for file in sorted((schema_of(role).directory / "migrations").glob("*.sql")):
                    for line in file.read_text().splitlines():
                        if line.startswith("GRANT "):
                            owner.execute(line)
                assert (await run_command(service, dsn, "migrate")).code == 0
                await check_row_security(pool)
