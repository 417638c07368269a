"""A migration that must wait says for whom, waits for so long and no longer, and has nobody else wait."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from service_chassis.database import migration_waits
from service_chassis.database.migrations import Schema, apply_schema
from service_chassis.errors import OperatorError
from tests.service_chassis.test_migrations import apply

HOLD_LOCK = f"SELECT pg_advisory_lock({migration_waits._LOCK})"
READ_TABLE = "SELECT FROM first"


@contextmanager
def somebody(dsn: str, statement: str) -> Iterator[psycopg.Connection]:
    """A session that has done `statement` and leaves its transaction open."""
    with closing(psycopg.connect(dsn, application_name="somebody")) as connection:
        connection.execute(statement)
        yield connection


def add_migration(directory: Path, text: str) -> None:
    (directory / "migrations" / "0003_third.sql").write_text(text)


WAITS = {
    "for the lock": (HOLD_LOCK, ""),
    "for a table": (READ_TABLE, "ALTER TABLE first ADD COLUMN m int;\n"),
    "for a transaction to end": (
        "DELETE FROM first WHERE n = 0",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS first_n;\n"
        "CREATE INDEX CONCURRENTLY first_n ON first (n);\n",
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_whoever_keeps_it_waiting_is_told_and_when_that_session_ends_it_goes_on(
    directory: Path, empty_database: Callable[[], str], wait: str
) -> None:
    statement, migration = WAITS[wait]
    dsn = empty_database()
    apply(dsn, directory)
    add_migration(directory, migration)
    told: list[str] = []
    with somebody(dsn, statement) as other:
        pid = other.info.backend_pid

        def tell(words: str) -> None:
            told.append(words)
            # By the server: the connection's own close would wait for this thread's statement.
            threading.Thread(target=end_session, args=(dsn, pid)).start()

        assert apply_schema(dsn, Schema.of(directory), tell) == ["0003_third"]
    [words] = told
    assert words.startswith(f"session {pid} (somebody, user postgres, from 127.0.0.1, since ")
    assert words.endswith("waiting for it, up to 600 s")


def end_session(dsn: str, pid: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


@pytest.mark.parametrize("wait", WAITS)
def test_it_does_not_wait_without_end_and_what_it_could_not_apply_is_as_it_was(
    directory: Path, empty_database: Callable[[], str], wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_waits, "WAIT_LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(migration_waits, "RETRY_SECONDS", 0.05)
    statement, migration = WAITS[wait]
    dsn = empty_database()
    apply(dsn, directory)
    add_migration(directory, migration)
    with somebody(dsn, statement) as other:
        pid = other.info.backend_pid
        with pytest.raises(OperatorError) as refused:
            apply(dsn, directory)
    assert str(refused.value).startswith(f"session {pid} (somebody, user postgres")
    assert "has kept the migration waiting for 0.3 s" in str(refused.value)
    assert apply(dsn, directory) == ["0003_third"]


def test_while_a_migration_waits_for_a_table_others_are_served_from_it(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    """Who waits for a table has everybody wait who comes later: it stands in line for a moment, again and again."""
    dsn = empty_database()
    apply(dsn, directory)
    add_migration(directory, WAITS["for a table"][1])
    waiting = threading.Event()
    with somebody(dsn, READ_TABLE) as other, psycopg.connect(dsn, autocommit=True) as served:
        served.execute("SET lock_timeout = 200")
        work = threading.Thread(target=apply_schema, args=(dsn, Schema.of(directory), lambda _: waiting.set()))
        work.start()
        assert waiting.wait(30)
        for _ in range(20):
            served.execute(READ_TABLE)
            served.execute("SELECT pg_sleep(0.05)")
        other.rollback()
        work.join(30)
    assert apply(dsn, directory) == []
