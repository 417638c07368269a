"""The embedded servers: what they keep, what they refuse, what they survive."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_stack.errors import StackError
from local_stack.ports import choose_free_port, is_free
from local_stack.postgres_server import PostgresServer
from local_stack.redis_server import RedisServer
from local_stack.servers import create_databases, dsn_for_database

pytestmark = pytest.mark.system


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, to be mistreated; with fsync, as in the local stack."""
    server = PostgresServer(tmp_path, choose_free_port(), "pass word/@:", tmp_path / "postgres.log")
    server.start()
    yield server
    server.stop()


def test_acknowledged_rows_survive_a_kill_of_the_server(own_postgres: PostgresServer, tmp_path: Path) -> None:
    with psycopg.connect(own_postgres.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        connection.commit()
        os.kill(own_postgres.process.pid, signal.SIGKILL)
    own_postgres.stop()
    # The killed server's process id now belongs to another process of the same account, as happens on a long day.
    pid_file = tmp_path / "data" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(own_postgres.process.pid), str(os.getpid()), 1))

    own_postgres.start()

    with psycopg.connect(own_postgres.dsn()) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_commits_wait_for_the_disk(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.dsn()) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_an_initdb_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    half_done = tmp_path / "initdb" / "data"
    half_done.mkdir(parents=True)
    (half_done / "PG_VERSION").write_text("18\n")
    server = PostgresServer(tmp_path, choose_free_port(), "x", tmp_path / "postgres.log", durable=False)
    server.start()
    server.stop()
    assert not half_done.exists()


def test_no_mode_of_a_parent_directory_is_loosened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "stack").mkdir(mode=0o700)
    server = PostgresServer(closed / "stack", choose_free_port(), "x", tmp_path / "postgres.log", durable=False)
    server.start()
    server.stop()
    assert [path.stat().st_mode & 0o777 for path in (closed, closed / "stack", closed / "stack" / "data")] == [
        0o700
    ] * 3


def test_data_of_another_major_version_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    server = PostgresServer(tmp_path, choose_free_port(), "x", tmp_path / "postgres.log")
    with pytest.raises(StackError, match=r"belongs to PostgreSQL 9, .*make clean-data"):
        server.start()


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    server = PostgresServer(tmp_path, choose_free_port(), "x", log, settings={"work_mem": "lots"}, durable=False)
    with pytest.raises(StackError, match=r"postgres exited with status 1; its log is .*\n.*work_mem"):
        server.start()
    assert not (tmp_path / "initdb").exists()


def test_root_without_setpriv_is_told_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    server = PostgresServer(tmp_path, choose_free_port(), "x", tmp_path / "postgres.log")
    with pytest.raises(StackError, match=r"setpriv .* not installed; .*STACK_DIR.*POSTGRES_DSN"):
        server.start()


def test_databases_are_created_once_and_belong_to_their_service(own_postgres: PostgresServer) -> None:
    databases = {"catalog": "one", "metering": "two"}
    create_databases(own_postgres.dsn(), databases)
    create_databases(own_postgres.dsn(), databases)

    with psycopg.connect(own_postgres.dsn("catalog", "catalog", "one")) as connection:
        connection.execute("CREATE TABLE mine (n int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(own_postgres.dsn("metering", "catalog", "one"))


def test_on_somebody_elses_server_databases_are_made_and_accounts_are_not(own_postgres: PostgresServer) -> None:
    create_databases(own_postgres.dsn(), {"catalog": None})
    with psycopg.connect(dsn_for_database(own_postgres.dsn(), "catalog")) as connection:
        assert connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'catalog'").fetchone() is None


def test_a_server_that_does_not_answer_is_named_with_the_variable() -> None:
    dsn = f"postgresql://me:secret@127.0.0.1:{choose_free_port()}/postgres"
    with pytest.raises(StackError, match=r"on 127\.0\.0\.1: .*check POSTGRES_DSN") as caught:
        create_databases(dsn, {"catalog": None})
    assert "secret" not in str(caught.value)


def test_a_dsn_that_is_no_url_is_refused_with_an_example() -> None:
    with pytest.raises(StackError, match=r"POSTGRES_DSN: .*expected postgresql://"):
        dsn_for_database("host=localhost user=me", "catalog")


def test_valkey_wants_its_password_and_shows_it_to_nobody(redis_server: RedisServer) -> None:
    with (
        redis.Redis(port=redis_server.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    command_line = Path(f"/proc/{redis_server.process.pid}/cmdline")
    password = redis_server.url.split(":")[2].split("@")[0]
    assert password.encode() not in command_line.read_bytes()


def test_a_port_in_use_is_not_free(redis_server: RedisServer) -> None:
    assert not is_free(redis_server.port)
    assert is_free(choose_free_port())


def test_no_free_port_is_given_out_twice() -> None:
    """The system does: two servers that are about to start would be told the same."""
    assert len({choose_free_port() for _ in range(900)}) == 900
