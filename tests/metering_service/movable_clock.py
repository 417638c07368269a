"""The time of metering's tests, which passes when a test says so."""

from datetime import UTC, datetime, timedelta

import psycopg

FIRST_MOMENT = datetime(2026, 3, 31, 22, 0, 0, tzinfo=UTC)
CLOCK_THAT_STANDS = f"""
    CREATE TABLE test_clock AS SELECT timestamptz '{FIRST_MOMENT}' AS now;
    CREATE OR REPLACE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT now FROM test_clock';
"""


class MovableClock:
    """A clock that stands still until it is moved, the processes' and that of the database at `dsn`."""

    def __init__(self, dsn: str) -> None:
        self.now = FIRST_MOMENT
        self._dsn = dsn
        self._connection: psycopg.Connection | None = None

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)
        self._connection = self._connection or psycopg.connect(self._dsn, autocommit=True)
        self._connection.execute("UPDATE test_clock SET now = %s", (self.now,))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
