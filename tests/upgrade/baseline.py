"""The baseline: what the last release left in each database, and what its processes say to it.

`baseline/<service>/schema.sql` is a dump of a database just migrated; `migrations.json`, the digests of its
migrations; `statements.json`, what its processes send when they are used, with what comes back (recording.py). All of
it is written by `python -m tests.upgrade.take_baseline`, at a release and never between two.
"""

import hashlib
import re
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from local_stack.postgres_server import find_binaries
from prove.breakable_stack import schema_of

SERVICES = ("catalog", "activity", "metering")
DIRECTORY = Path(__file__).parent / "baseline"
RETAKE = (
    "a released migration is never edited: write the next one (CONTRIBUTING.md, Migrations). "
    "If none of it is released yet: python -m tests.upgrade.take_baseline"
)

# What differs from server to server and from day to day, and says nothing about a schema.
_NOISE = re.compile(r"^(--.*|SET .*|\\(un)?restrict .*|SELECT pg_catalog\.set_config.*)?\n", re.MULTILINE)


def dump(dsn: str, *, with_rows: bool) -> str:
    """Return the database at `dsn` as SQL: tables, constraints, indexes, functions, policies, rights, rows."""
    # Who migrated, and when, is noted by yoyo with the names of a person and a machine.
    rows = ["--inserts", "--exclude-table-data=_yoyo_log"] if with_rows else ["--schema-only"]
    command = [str(find_binaries() / "pg_dump"), "--no-owner", *rows, dsn]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return _NOISE.sub("", text)


def restore(service: str, dsn: str) -> None:
    """Fill the empty database at `dsn` with the baseline of `service`, whose role is made where it is not there."""
    role = schema_of(f"{service}_service").role
    with psycopg.connect(dsn, autocommit=True) as connection:
        if role and not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchall():
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        connection.execute("SET check_function_bodies = off")
        connection.execute((DIRECTORY / service / "schema.sql").read_bytes())


def digest_migrations(service: str) -> dict[str, str]:
    """Return the SHA-256 of each migration of `service` as it stands, by name."""
    paths = sorted((schema_of(f"{service}_service").directory / "migrations").glob("*.sql"))
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
