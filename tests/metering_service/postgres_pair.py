"""A PostgreSQL with a standby, made as an operator makes one, and its failover."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from local_stack.ports import LOOPBACK, choose_free_port
from local_stack.postgres_server import SUPERUSER, PostgresServer, find_binaries
from local_stack.unprivileged import choose_account

WAIT_SECONDS = 30.0


class PostgresPair:
    """A primary that its standby follows; `synchronous`, nothing is acknowledged before the standby has it."""

    def __init__(self, directory: Path, *, synchronous: bool) -> None:
        copy = find_binaries() / "pg_basebackup"
        if not copy.exists():
            pytest.skip(f"no {copy}: apt-get install postgresql")
        password = secrets.token_urlsafe()
        self.primary, self.standby = (self._make(directory / name, password) for name in ("primary", "standby"))
        self.primary.start()
        source = ["--host", LOOPBACK, "--port", str(self.primary.port), "--username", SUPERUSER]
        data = directory / "standby" / "data"
        subprocess.run(
            [copy, "--pgdata", data, *source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
            env={**os.environ, "PGPASSWORD": password},
            check=True,
        )
        if account := choose_account(directory / "primary" / "data"):
            for path in (data, *data.rglob("*")):
                os.chown(path, account.uid, account.gid)
        self.standby.start()
        wait_for(lambda: self._ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == 1)
        if synchronous:
            self._ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self._ask("SELECT pg_reload_conf()")
            wait_for(lambda: self._ask("SELECT sync_state FROM pg_stat_replication") == "sync")

    @staticmethod
    def _make(directory: Path, password: str) -> PostgresServer:
        directory.mkdir()
        # A thousandth of what is in a real one, and fsync of none: no machine goes down here.
        settings = {"max_wal_size": "256MB", "shared_buffers": "32MB"}
        return PostgresServer(
            directory, choose_free_port(), password, directory / "log", settings=settings, durable=False
        )

    def _ask(self, statement: str, *, of: PostgresServer | None = None) -> object:
        with psycopg.connect((of or self.primary).dsn(), autocommit=True) as connection:
            found = connection.execute(statement)
            return (found.fetchone() or (None,))[0] if found.description else None

    def dsn(self, database: str) -> str:
        """Return the URL of a database on whichever takes writes."""
        before, _, after = self.primary.dsn(database).rpartition(f":{self.primary.port}")
        hosts = f":{self.primary.port},{LOOPBACK}:{self.standby.port}"
        return f"{before}{hosts}{after}?target_session_attrs=read-write"

    def wait_for_the_standby(self) -> None:
        """Return when the standby has all that the primary has now."""
        reached = self._ask("SELECT pg_current_wal_lsn()")
        wait_for(lambda: self._ask(f"SELECT replay_lsn >= '{reached}' FROM pg_stat_replication") is True)

    def cut_the_standby_off(self) -> None:
        """Let nothing arrive at the standby any more."""
        self._ask("ALTER SYSTEM SET primary_conninfo = ''", of=self.standby)
        self._ask("SELECT pg_reload_conf()", of=self.standby)
        wait_for(lambda: self._ask("SELECT count(*) FROM pg_stat_replication") == 0)

    def kill_the_primary(self) -> None:
        self.primary.process._process.kill()
        self.primary.process.wait(WAIT_SECONDS)

    def promote_the_standby(self) -> None:
        assert self._ask("SELECT pg_promote()", of=self.standby) is True

    def stop(self) -> None:
        for server in (self.primary, self.standby):
            server.stop()
            shutil.rmtree(server._directory / "data", ignore_errors=True)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
