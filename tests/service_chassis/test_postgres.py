"""Pools: first come, first served, and no wait without a bound."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.session import SessionNotAsAsked
from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.database.turns import PoolMetrics
from service_chassis.operations.metrics import Metrics

CALLERS, CONNECTIONS, ROUNDS = 40, 2, 50


@pytest.fixture(autouse=True)
async def no_exception_is_lost() -> AsyncIterator[None]:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    yield
    gc.collect()
    assert lost == []


async def until_it_sleeps(operator: asyncpg.Connection, pid: int) -> None:
    """Wait until a session sleeps in its statement, and holds nothing that others need."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'"
    async with asyncio.timeout(5):
        while not await operator.fetchval(asleep, pid):
            pass


@pytest.fixture
async def pool(empty_database: Callable[[], str]) -> asyncpg.Pool:
    async with open_pool(empty_database(), size=CONNECTIONS, application_name="test") as pool:
        yield pool


async def test_nobody_is_passed_by_those_who_come_again(pool: asyncpg.Pool) -> None:
    lent = 0

    async def come_again() -> int:
        """Return how many others were served during this caller's longest wait."""
        nonlocal lent
        longest = 0
        for _ in range(ROUNDS):
            before = lent
            async with pool.acquire(timeout=10) as connection:
                longest = max(longest, lent - before)
                lent += 1
                await connection.fetchval("SELECT 1")
        return longest

    assert max(await asyncio.gather(*[come_again() for _ in range(CALLERS)])) <= CALLERS


async def test_a_turn_that_does_not_come_is_a_timeout_and_costs_no_connection(pool: asyncpg.Pool) -> None:
    async with pool.acquire(timeout=1), pool.acquire(timeout=1):
        for _ in range(CONNECTIONS + 1):
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=0.01):
                    pass
    async with pool.acquire(timeout=1), pool.acquire(timeout=1) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_pool_counts_what_is_lent_who_had_to_wait_and_who_waited_in_vain(
    empty_database: Callable[[], str],
) -> None:
    metrics = Metrics()

    def counted(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"database_pool_{name}", {"pool": "of the test"})

    async with open_pool(
        empty_database(), size=1, application_name="test", name="of the test", metrics=PoolMetrics(metrics)
    ) as pool:
        async with pool.acquire():
            assert (counted("size"), counted("lent"), counted("wait_seconds_count")) == (1, 1, 0)
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=0.01):
                    pass
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await asyncio.sleep(0)
        await waiting
    assert (counted("lent"), counted("wait_seconds_count"), counted("timeouts_total")) == (0, 2, 1)


async def test_a_database_that_is_away_costs_no_turn() -> None:
    async with open_pool("postgresql://nobody@127.0.0.1:1/none", size=1, application_name="test") as nowhere:
        for _ in range(3):
            with pytest.raises(OSError):  # noqa: PT011 - of whatever kind, but no timeout
                async with nowhere.acquire(timeout=5):
                    pass


async def test_a_pool_bounds_its_statements_and_opens_no_connection_by_itself(
    empty_database: Callable[[], str],
) -> None:
    async with open_pool("postgresql://nobody@127.0.0.1:1/none", size=1, application_name="test"):
        pass
    async with open_pool(empty_database(), size=1, application_name="test") as pool:
        settings = ["statement_timeout", "lock_timeout", "synchronous_commit", "timezone", "application_name"]
        assert [await pool.fetchval(f"SHOW {name}") for name in settings] == ["4s", "3s", "on", "UTC", "test"]


async def test_a_use_that_takes_too_long_is_a_timeout_and_gives_its_connection_back(
    empty_database: Callable[[], str],
) -> None:
    async with open_pool(empty_database(), size=1, application_name="test", work_seconds=0.2) as pool:
        with pytest.raises(TimeoutError):
            async with pool.acquire() as connection:
                await connection.execute("SELECT pg_sleep(3)")
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_an_error_within_a_bounded_use_is_that_error(empty_database: Callable[[], str]) -> None:
    async with open_pool(empty_database(), size=1, application_name="test", work_seconds=5) as pool:
        with pytest.raises(asyncpg.UndefinedTableError):
            async with pool.acquire() as connection:
                await connection.fetchval("SELECT FROM nowhere")


async def test_closing_waits_for_no_statement_for_long(
    empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_chassis.database.pool.CLOSE_TIMEOUT_SECONDS", 0.1)
    async with open_pool(empty_database(), size=1, application_name="test") as pool:
        at_work = asyncio.Event()

        async def work() -> None:
            async with pool.acquire() as connection:
                at_work.set()
                await connection.execute("SELECT pg_sleep(3)")

        working = asyncio.create_task(work())
        await at_work.wait()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await asyncio.wait_for(working, 2)


async def test_sessions_with_a_server_that_became_read_only_are_dropped_and_it_is_not_ready_meanwhile(
    empty_database: Callable[[], str],
) -> None:
    dsn = empty_database()
    name = dsn.rpartition("/")[2]
    operator = await asyncpg.connect(dsn)
    await operator.execute("CREATE TABLE thing (n integer)")
    await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with open_pool(dsn, size=1, application_name="test") as pool:
        for _ in range(2):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await pool.execute("INSERT INTO thing VALUES (1)")
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await check_postgres(pool)
        assert await pool.fetchval("SELECT 1") == 1  # who writes nothing has opened a session that stays read-only
        await operator.execute("SET default_transaction_read_only = off")
        await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await check_postgres(pool)
        await pool.execute("INSERT INTO thing VALUES (1)")
    await operator.close()


async def test_a_use_that_is_given_up_twice_while_the_server_stands_still_loses_no_exception(
    empty_database: Callable[[], str],
) -> None:
    dsn = empty_database()
    operator = await asyncpg.connect(dsn)
    async with open_pool(dsn, size=1, application_name="test", acquire_seconds=0.2) as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        working = asyncio.create_task(pool.execute("SELECT pg_sleep(3)"))
        await until_it_sleeps(operator, pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            # First in its statement, then while the server is asked to end that.
            for _ in range(2):
                working.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await working
            async with pool.acquire(timeout=5) as connection:
                assert await connection.fetchval("SELECT pg_backend_pid()") != pid
        finally:
            os.kill(pid, signal.SIGCONT)
    await operator.close()


async def test_a_session_that_was_shut_down_costs_one_use_only(empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    operator = await asyncpg.connect(dsn)
    async with open_pool(dsn, size=1, application_name="victim") as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        sleeping = asyncio.create_task(pool.execute("SELECT pg_sleep(3)"))
        await until_it_sleeps(operator, pid)
        await operator.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await sleeping
        assert await pool.fetchval("SELECT pg_backend_pid()") != pid
    await operator.close()


async def test_a_session_that_sees_all_clients_without_having_asked_is_refused_by_name(
    empty_database: Callable[[], str],
) -> None:
    dsn = empty_database()
    connection = await asyncpg.connect(dsn)
    database = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {database} SET app.all_clients = 'on'")
    await connection.close()
    async with open_pool(dsn, size=1, application_name="test") as pool:
        with pytest.raises(SessionNotAsAsked, match=r"did not ask for: app\.all_clients"):
            await check_postgres(pool)
    async with open_pool(dsn, size=1, application_name="test", settings=ALL_CLIENTS) as pool:
        await check_postgres(pool)


async def test_a_pooler_that_drops_the_role_is_refused_by_name(empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    target = urlsplit(dsn)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def forget_what_it_begins_with(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on the user and the database of the startup message, and nothing else of it."""
        there, back = await asyncio.open_connection(target.hostname, target.port)
        size = int.from_bytes(await reader.readexactly(4), "big")
        words = (await reader.readexactly(size - 4))[4:].split(b"\0")
        kept = {
            name: value
            for name, value in zip(words[::2], words[1::2], strict=False)
            if name in (b"user", b"database")
        }
        body = (3 << 16).to_bytes(4, "big") + b"".join(k + b"\0" + v + b"\0" for k, v in kept.items()) + b"\0"
        back.write((len(body) + 4).to_bytes(4, "big") + body)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(forget_what_it_begins_with, "127.0.0.1", 0) as pooler:
        port = pooler.sockets[0].getsockname()[1]
        url = urlunsplit(
            target._replace(netloc=f"{target.netloc.rpartition(':')[0]}:{port}", query="sslmode=disable")
        )
        async with open_pool(url, size=1, application_name="test", role="pg_monitor") as pool:
            with pytest.raises(SessionNotAsAsked, match=r"role"):
                async with pool.acquire():
                    pass
