"""Bring a database to its service's schema: numbered migrations by yoyo, then the functions of `sql/` as they stand.

`<service>/migrations/NNNN_*.sql` holds tables and indexes, each file applied once and never changed. `<service>/sql/`
holds functions (`sql_functions.py`). The version before goes on serving meanwhile, and may start again after it.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
from psycopg import sql
from yoyo import default_migration_table, read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from service_chassis.database.migration_waits import TABLE_LOCK_MILLISECONDS, Waits, connect
from service_chassis.database.sql_functions import apply_functions, list_missing
from service_chassis.database.tenancy import LIST_CLOSED
from service_chassis.database.url import read_database_url
from service_chassis.errors import OperatorError

_HAS_MIGRATIONS = "SELECT to_regclass('_yoyo_migration') IS NOT NULL"
_LIST_MIGRATIONS = "SELECT migration_id FROM _yoyo_migration"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a service's database must have: names of migrations, and the text of functions by name.

    `role` has the rights that the service acts with: it owns nothing, and row-level security holds for it.
    """

    directory: Path
    migrations: frozenset[str]
    functions: Mapping[str, str]
    role: str = ""

    @classmethod
    def of(cls, directory: Path, role: str = "") -> "Schema":
        """Read the schema of the service whose package is `directory`."""
        return cls(
            directory,
            frozenset(path.stem for path in (directory / "migrations").glob("*.sql")),
            {path.stem: path.read_text() for path in sorted((directory / "sql").glob("*.sql"))},
            role,
        )


class AnothersDatabase(RuntimeError):
    """The database has migrations, and the service's first is not one of them."""


def apply_schema(
    dsn: str, schema: Schema, tell: Callable[[str], None] = lambda _: None, *, acting_role: str = ""
) -> list[str]:
    """Apply what the database at `dsn` lacks and return the names of it, in order.

    All or nothing, but for migrations that say `-- transactional: false`, which are applied by themselves.
    `acting_role`, which the service acts as, becomes a member of the schema's own role where it is another one.

    Waits for another process that migrates the same database, and for tables that are in use; says by `tell` for
    whom. Raises OperatorError when that takes too long, and where a superuser must give a right first;
    AnothersDatabase, and then nothing was changed.
    """
    parameters = read_database_url(dsn)
    name = f"{schema.directory.name} migrate"
    # The lock belongs to a transaction, not to a session: a connection pooler must not keep it for the next client.
    with (
        connect(parameters, f"{name} (lock)") as guard,
        connect(parameters, f"{name} (waits)", autocommit=True) as observer,
    ):
        waits = Waits(observer, name, tell)
        waits.take_lock(guard)
        if (guard.execute(_HAS_MIGRATIONS).fetchone() or (False,))[0]:
            _require_ours({name for (name,) in guard.execute(_LIST_MIGRATIONS)}, schema)
        _require_writes(guard)
        _require_room(guard)
        backend = _Backend(parameters, name)
        # yoyo runs a migration's steps on another connection than the one that notes it: here both are one.
        backend.copy = lambda: nullcontext(backend)
        try:
            backend.init_database()
            if schema.role:
                _require_role(backend.connection, schema.role)
                if acting_role not in ("", schema.role):
                    _require_role(backend.connection, acting_role, member_of=schema.role)
                _require_rights(backend.connection, schema, acting_role or schema.role)
            pending = backend.to_apply(read_migrations(str(schema.directory / "migrations")))
            with waits.watch():
                return _apply(backend, pending, schema.functions, waits)
        finally:
            backend.connection.close()


def _apply(backend: Any, pending: Sequence[Any], functions: Mapping[str, str], waits: Waits) -> list[str]:
    for migration in pending:
        migration.load()
    # Those in a row that may, in one transaction; the functions in the last one.
    batches = [list(batch) for _, batch in groupby(pending, lambda each: each.use_transactions or each.id)]
    if not batches or not batches[-1][0].use_transactions:
        batches.append([])
    applied: list[str] = []
    for number, batch in enumerate(batches, 1):
        if batch and not batch[0].use_transactions:
            backend.apply_migrations_only(batch)
            applied.append(batch[0].id)
        else:
            applied += _apply_together(backend, batch, functions if number == len(batches) else {}, waits)
    return applied


def _apply_together(backend: Any, batch: Sequence[Any], functions: Mapping[str, str], waits: Waits) -> list[str]:
    while True:
        try:
            with backend.transaction():
                backend.execute(f"SET LOCAL lock_timeout = {TABLE_LOCK_MILLISECONDS}")
                backend.apply_migrations_only(batch)
                return [migration.id for migration in batch] + apply_functions(backend.connection, functions)
        except psycopg.errors.LockNotAvailable:
            waits.pause()


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's backend, connected by our own reading of the URL."""

    def __init__(self, parameters: Mapping[str, str], name: str) -> None:
        self._parameters = parameters
        self._name = name
        nothing = dict.fromkeys(("username", "password", "hostname", "port"))
        uri = DatabaseURI("postgresql", **nothing, database=parameters.get("dbname"), args={})
        super().__init__(uri, default_migration_table)

    def connect(self, _: Any) -> psycopg.Connection:
        """Open the one connection."""
        return connect(self._parameters, self._name, autocommit=True)


def _require_ours(applied: Set[str], schema: Schema) -> None:
    """Raise AnothersDatabase where somebody's migrations were applied, without our first: that one never changes."""
    first = min(schema.migrations, default=None)
    if applied and first is not None and first not in applied:
        raise AnothersDatabase(f"it has {min(applied)} and not {first}")


def _require_writes(connection: psycopg.Connection) -> None:
    """Raise ReadOnlySqlTransaction where nothing can be made: yoyo goes on without the tables that it lacks."""
    if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
        raise psycopg.errors.ReadOnlySqlTransaction("transaction_read_only is on")


_FIND_ROOM = """
    SELECT current_user, coalesce(current_schema(), 'public'),
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
"""


def _require_room(connection: psycopg.Connection) -> None:
    """Raise OperatorError with what must be run where we may make no tables."""
    user, namespace, may_create = connection.execute(_FIND_ROOM).fetchone() or ("", "", False)
    if not may_create:
        grant = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(
            sql.Identifier(namespace), sql.Identifier(user)
        )
        raise OperatorError(
            f"{user} may not make tables in the schema {namespace}. The database's owner or a superuser must run: "
            f"{grant.as_string(connection)}"
        )


def _require_role(connection: psycopg.Connection, role: str, member_of: str = "") -> None:
    """Make the role that the service acts as, where it is not there, and let us act as it.

    With `member_of`, the role has the rights of that one. Roles belong to the whole server: another database may
    have brought it, or its administrator. Raises OperatorError with what a superuser must run where we may not, and
    for a role that sees the rows of all clients.
    """
    # To make a role or to administer it is, from PostgreSQL 16 on, not yet to act as it.
    is_16 = connection.info.server_version >= 160_000
    kind, option = ("SET", " WITH SET TRUE") if is_16 else ("MEMBER", "")
    (user,) = connection.execute("SELECT current_user").fetchone() or ("",)
    grant = sql.SQL("GRANT {} TO {}" + option).format(sql.Identifier(role), sql.Identifier(user))
    create = sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role))
    join = sql.SQL("GRANT {} TO {}" + (" WITH INHERIT TRUE" if is_16 else "")).format(
        sql.Identifier(member_of), sql.Identifier(role)
    )
    needed = [create, grant, *([join] if member_of else [])]
    try:
        found = connection.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s", (role,))
        (sees_all,) = found.fetchone() or (None,)
        if sees_all:
            raise OperatorError(
                f"the service may not act as the role {role}: row-level security does not hold for it"
            )
        if sees_all is None:
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                connection.execute(create)
        needed.remove(create)
        (is_usable,) = connection.execute("SELECT pg_has_role(%s, %s)", (role, kind)).fetchone() or (False,)
        if not is_usable:
            connection.execute(grant)
        needed.remove(grant)
        has_rights = "SELECT pg_has_role(%s, %s, 'USAGE')"
        if member_of and connection.execute(has_rights, (role, member_of)).fetchone() != (True,):
            connection.execute(join)
    except psycopg.errors.InsufficientPrivilege:
        commands = "; ".join(command.as_string(connection) for command in needed)
        raise OperatorError(
            f"the service is to act as the role {role}, which {user} may not arrange. A superuser must run: "
            f"{commands}"
        ) from None


def _require_rights(connection: psycopg.Connection, schema: Schema, role: str) -> None:
    """Raise OperatorError where the role lacks what migrations gave it once, and give once only."""
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        closed = [name for (name,) in connection.execute(LIST_CLOSED)]
    if closed:
        raise OperatorError(
            f"{role} may not use {', '.join(closed)}: the rights were revoked, or left out of a backup by "
            f"--no-privileges. Run the GRANT lines of {schema.directory.name}/migrations again, as the tables' owner"
        )


async def check_schema(pool: asyncpg.Pool, schema: Schema) -> None:
    """Raise RuntimeError unless the database has, or had, every migration and every function of `schema`.

    One that was migrated by the next version of the service has them, too. AnothersDatabase is one.
    """
    async with pool.acquire(timeout=1) as connection:
        applied = {row["migration_id"] for row in await connection.fetch(_LIST_MIGRATIONS)}
        missing = await list_missing(connection, schema.functions)
    _require_ours(applied, schema)
    missing |= schema.migrations - applied
    if missing:
        raise RuntimeError("not migrated: " + ", ".join(sorted(missing)))
