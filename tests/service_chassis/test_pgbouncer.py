"""A transaction pooler in front of the database: what it makes of a session is verified, and refused in our words.

That the product works behind one, with the logins that it needs, is in deploy/test_pooler.py.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from local_stack.child_process import ChildProcess
from local_stack.ports import choose_free_port
from service_chassis.cli.commands import run_commands
from service_chassis.database.migrations import Schema, apply_schema
from service_chassis.database.pool import POOLER_IN_THE_WAY, check_postgres, open_pool
from service_chassis.database.session import SessionNotAsAsked
from tests.operator_command import run_command
from tests.pgbouncer import FOLLOWING_VERSION, require_pgbouncer
from tests.service_chassis.test_start import raises

pytestmark = pytest.mark.system

IGNORED = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,synchronous_commit,"
    "default_transaction_isolation,row_security,jit,options"
)


@pytest.fixture
def start_pooler(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a PgBouncer with transaction pools before a database at each call; return the URL through it."""
    binary = require_pgbouncer()
    started: list[ChildProcess] = []

    def start(dsn: str, ignored: str = "", **settings: str) -> str:
        there, port = conninfo_to_dict(dsn), choose_free_port()
        configuration = tmp_path / f"pgbouncer{port}.ini"
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={there['port']} user={there['user']} "
            f"password={there['password']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\nignore_startup_parameters = {ignored}\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        # It does not go on as root.
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [binary, *account, str(configuration)]
        started.append(ChildProcess("pgbouncer", command, tmp_path / f"log{port}"))
        url = f"postgresql://u@127.0.0.1:{port}/{there['dbname']}?sslmode=disable"
        until = time.monotonic() + 10
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                return url
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    yield start
    for process in started:
        process.stop(5)


async def test_a_pooler_that_refuses_or_drops_what_a_session_begins_with_is_named(
    catalog_dsn: str, start_pooler: Callable[..., str]
) -> None:
    for url in (start_pooler(catalog_dsn), start_pooler(catalog_dsn, IGNORED + ",role")):
        async with open_pool(url, size=1, application_name="test", role="catalog_service") as pool:
            with pytest.raises(SessionNotAsAsked, match="pooler in front of the database"):
                await check_postgres(pool)
        done = await run_command("catalog", url, "keys", "list")
        assert done.code == 1
        assert len(done.trace.splitlines()) == 1
        assert "pooler in front of the database" in done.trace


def test_a_migration_leaves_no_lock_in_a_pooler(
    directory: Path, empty_database: Callable[[], str], start_pooler: Callable[..., str]
) -> None:
    dsn = empty_database()
    url = start_pooler(dsn)
    assert apply_schema(url, Schema.of(directory)) == ["0001_first", "0002_second"]
    assert apply_schema(url, Schema.of(directory)) == []
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall() == []


# What is needed besides to start; nobody is there, and nobody has to be.
SERVICES = {
    "catalog": {},
    "activity": {
        "JWKS_URL": "http://127.0.0.1:9/keys",
        "METERING_URL": "http://127.0.0.1:9",
        "METERING_KEY": "k" * 32,
    },
    "metering": {"REDIS_URL": "redis://127.0.0.1:9", "SERVICE_KEYS": f"events:activity:{'0' * 64}"},
}
# As a page on poolers would have it: what cannot be sent is set for the login, in the database.
SET_FOR_THE_LOGIN = {
    "statement_timeout": "4000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    "synchronous_commit": "on",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
}


@pytest.mark.parametrize(
    ("service", "is_set_for_the_login"),
    # The catalog's sessions are all alike: with what they need set for the login it may be ready.
    [("catalog", False), ("activity", False), ("activity", True), ("metering", False), ("metering", True)],
)
async def test_no_service_that_was_not_told_serves_through_a_transaction_pooler_and_each_says_why(
    service: str,
    is_set_for_the_login: bool,
    fresh_database: Callable[[str], str],
    start_pooler: Callable[..., str],
) -> None:
    dsn = fresh_database(f"{service}_service")
    if is_set_for_the_login:
        database, login = conninfo_to_dict(dsn)["dbname"], conninfo_to_dict(dsn)["user"]
        with psycopg.connect(dsn, autocommit=True) as connection:
            for name, value in SET_FOR_THE_LOGIN.items():
                connection.execute(f"ALTER ROLE {login} IN DATABASE {database} SET {name} = '{value}'")
            if service == "activity":
                connection.execute(f"ALTER ROLE {login} IN DATABASE {database} SET role = '{service}_service'")
    ignored = f"{IGNORED},role,app.all_clients,plan_cache_mode,lock_timeout,enable_seqscan,enable_bitmapscan"
    ports = [choose_free_port() for _ in range(3)]
    given = {
        "POSTGRES_DSN": start_pooler(dsn, ignored),
        "PORT": str(ports[0]),
        "OPS_PORT": str(ports[1]),
        "ADMIN_PORT": str(ports[2]),
        **SERVICES[service],
    }
    environment = {**os.environ, "LOCAL_ONLY": "yes", **{f"{service.upper()}_{k}": v for k, v in given.items()}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{service}_service"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            why = ""
            while "SessionNotAsAsked" not in why:
                line = json.loads(await process.stdout.readline())
                why = line.get("why", "") if line["event"] == "not_ready" else ""
            assert "pooler in front of the database" in why
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{ports[1]}/readyz") as response:
                assert response.status == 503
    finally:
        process.terminate()
        await process.wait()


async def test_a_login_that_lacks_the_role_or_a_setting_is_refused_by_name(
    catalog_dsn: str, start_pooler: Callable[..., str]
) -> None:
    require_pgbouncer(FOLLOWING_VERSION)
    # It drops what it is told to, and the login has nothing instead.
    url = start_pooler(catalog_dsn, IGNORED + ",role", max_prepared_statements="200")
    async with open_pool(url, size=1, application_name="test", role="catalog_service", is_behind_pooler=True) as pool:
        with pytest.raises(SessionNotAsAsked, match=r"lacks what was asked for: .*lock_timeout.*role"):
            await check_postgres(pool)


async def test_a_pooler_whose_clients_statements_do_not_follow_them_is_refused(
    catalog_dsn: str, start_pooler: Callable[..., str]
) -> None:
    require_pgbouncer(FOLLOWING_VERSION)  # older ones do not know the setting, and do not start with it
    await _require_refused(start_pooler(catalog_dsn, max_prepared_statements="0"))


async def test_no_pooler_where_one_was_told_of_is_refused(catalog_dsn: str) -> None:
    await _require_refused(catalog_dsn)


async def _require_refused(url: str) -> None:
    async with open_pool(url, size=1, application_name="test", is_behind_pooler=True) as pool:
        with pytest.raises(SessionNotAsAsked, match="max_prepared_statements"):
            await check_postgres(pool)


@pytest.mark.parametrize(
    "kind",
    [asyncpg.ProtocolViolationError, asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError],
)
async def test_what_comes_of_sessions_that_change_servers_is_told_as_that(
    catalog_dsn: str, kind: type[Exception]
) -> None:
    async with open_pool(catalog_dsn, size=1, application_name="test") as pool:
        with pytest.raises(SessionNotAsAsked, match=POOLER_IN_THE_WAY):
            async with pool.acquire():
                raise kind("words")


@pytest.mark.parametrize(
    "kind",
    [
        psycopg.errors.ProtocolViolation,
        psycopg.errors.DuplicatePreparedStatement,
        psycopg.errors.InvalidSqlStatementName,
    ],
)
def test_migrate_says_the_same(kind: type[Exception]) -> None:
    with pytest.raises(SystemExit, match=POOLER_IN_THE_WAY):
        run_commands(raises(kind("words")), "catalog_service", [])
