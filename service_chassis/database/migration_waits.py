"""A migration's waits, each told and all bounded: for another that migrates, and for tables that are in use."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from service_chassis.errors import OperatorError

CONNECT_TIMEOUT_SECONDS = "10"
WAIT_LIMIT_SECONDS = 600.0
"""How long a migration waits for others, all its waits together."""
TABLE_LOCK_MILLISECONDS = 100
"""How long a migration stands in line for a table: whoever comes later stands behind it, and a charge waits 200 ms
(`CHARGING_SETTINGS` of metering)."""
RETRY_SECONDS = 0.5
"""Pause before it stands in line again, or asks for the lock of migrations again: so long all traffic flows."""
_WATCH_SECONDS = 0.02

_LOCK = 0x6D69677261746531
"""Key of the advisory lock under which migrations run. yoyo's own lock is a row, which a killed process leaves."""
# Without parameters: sent by the simple protocol, they leave no snapshot in the guard's open transaction, for which
# CREATE INDEX CONCURRENTLY would wait.
_TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({_LOCK})"

# What an administrator finds a session by; what the server does not let us see is left out.
_SESSION = """
    pid, 'session ' || pid || ' (' || concat_ws(', ',
        coalesce(nullif(application_name, ''), 'without a name'),
        'user ' || usename,
        'from ' || host(client_addr),
        'since ' || to_char(coalesce(xact_start, backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
    ) || ')'
"""
_FIND_HOLDER = f"""
    SELECT {_SESSION} FROM pg_stat_activity WHERE pid = (
        SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = {_LOCK}
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
# Ours are those of our name: whoever else migrates waits for the advisory lock, and not in line.
_LIST_OURS_IN_LINE = """
    SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s AND wait_event_type = 'Lock'
"""
_FIND_SESSION = f"SELECT {_SESSION} FROM pg_stat_activity WHERE pid = ANY (%s) ORDER BY xact_start LIMIT 1"


def connect(parameters: Mapping[str, str], name: str, *, autocommit: bool = False) -> psycopg.Connection:
    """Open a session called `name` that leaves nothing behind in a connection pooler."""
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **parameters, "application_name": name}
    return psycopg.connect(**options, autocommit=autocommit, prepare_threshold=None)


class Waits:
    """What a migration waits for, up to `WAIT_LIMIT_SECONDS` from now: each session it waits for is told once.

    `observer` is a connection that commits by itself; the migration's statements are those of sessions called `name`.
    """

    def __init__(self, observer: psycopg.Connection, name: str, tell: Callable[[str], None]) -> None:
        self._observer = observer
        self._name = name
        self._tell = tell
        self._until = time.monotonic() + WAIT_LIMIT_SECONDS
        self._told: set[int] = set()
        self._last = "another session"

    def take_lock(self, guard: psycopg.Connection) -> None:
        """Take the lock of migrations for as long as the transaction of `guard` lasts. Raises OperatorError."""
        while guard.execute(_TRY_LOCK).fetchone() != (True,):
            self._note(self._observer.execute(_FIND_HOLDER).fetchone(), "holds the lock of migrations")
            self.pause()

    def pause(self) -> None:
        """Let others go first, then return for another try. Raises OperatorError where the time is up."""
        self.raise_if_over()
        time.sleep(RETRY_SECONDS)

    def raise_if_over(self) -> None:
        """Raise OperatorError where the time is up."""
        if time.monotonic() > self._until:
            raise OperatorError(
                f"{self._last} has kept the migration waiting for {WAIT_LIMIT_SECONDS:g} s; what was not applied yet "
                "is as it was. Wait until that session has ended, or end it (pg_terminate_backend), and migrate again"
            )

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Tell whose lock keeps our statements in line; cancel one that still stands there when the time is up.

        Raises OperatorError for that one.
        """
        is_over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(is_over,))
        watcher.start()
        try:
            yield
        except psycopg.errors.QueryCanceled:
            self.raise_if_over()
            raise
        finally:
            is_over.set()
            watcher.join()

    def _watch(self, is_over: threading.Event) -> None:
        # Without its words a migration goes on all the same.
        with suppress(psycopg.Error):
            while not is_over.wait(_WATCH_SECONDS):
                for pid, blocking_pids in self._observer.execute(_LIST_OURS_IN_LINE, (self._name,)):
                    found = self._observer.execute(_FIND_SESSION, (blocking_pids,)).fetchone()
                    self._note(found, "holds a lock that the migration needs")
                    if time.monotonic() > self._until:
                        self._observer.execute("SELECT pg_cancel_backend(%s)", (pid,))

    def _note(self, session: TupleRow | None, does: str) -> None:
        if session is not None and session[0] not in self._told:
            pid, self._last = session
            self._told.add(pid)
            left = max(self._until - time.monotonic(), 0)
            self._tell(f"{self._last} {does}; waiting for it, up to {left:.0f} s")
