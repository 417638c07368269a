"""Real servers for every test that asks: one PostgreSQL and one Valkey per run, a database of its own per test.

A test names what it needs:

- `catalog_dsn`, `activity_dsn`, `metering_dsn`: the URL of a migrated, empty database nobody else uses
- `fresh_database("metering_service")`: the same by the service's name, as often as called
- `empty_database()`: one without any tables
- `redis_url`: the URL of a Valkey flushed before the test
"""

import gc
import itertools
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql

from local_stack.ports import choose_free_port
from local_stack.postgres_server import SUPERUSER, PostgresServer
from local_stack.redis_server import RedisServer
from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema
from tests.memory_directory import directory_in_memory

pytest_plugins = ["tests.openapi.held_traffic"]

for _name, _examples in (("short", 20), ("long", 400)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    )
hypothesis.settings.load_profile("short")  # `make test-system` searches on, by the long one

REPOSITORY = Path(__file__).parent.parent

FreshDatabase = Callable[[str], str]
"""Takes a service's package name, returns the URL of a new database with that service's tables."""


_database_numbers = itertools.count(1)


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later look for garbage: it is most of what there is, and stays."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run an embedded PostgreSQL for the whole run; in memory where there is enough, since nothing has to survive."""
    with directory_in_memory() as directory:
        server = PostgresServer(
            directory, choose_free_port(), secrets.token_urlsafe(), directory / "postgres.log", durable=False
        )
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def superuser(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    """Connect to the server once for all that makes and drops databases."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        # A password is made slow to guess by thousands of hashes at each of the run's many thousand connections.
        connection.execute("SET scram_iterations = 1")
        password = connection.info.password
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SUPERUSER), password))
        yield connection


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run an embedded Valkey for the whole run."""
    directory = tmp_path_factory.mktemp("redis")
    server = RedisServer(directory, choose_free_port(), secrets.token_urlsafe(), directory / "redis.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Empty the Valkey and return its URL."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer, superuser: psycopg.Connection) -> Callable[..., str]:
    """Return the name of a service's migrated database, to be cloned; made at the first call of the run.

    `then` are statements that change it for some of the tests.
    """
    made: dict[tuple[str, str], str] = {}

    def prepare(service: str, then: str = "") -> str:
        if (service, then) not in made:
            name = f"template_{len(made)}"
            superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            apply_schema(postgres_server.dsn(name), schema_of(service))
            with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
                connection.execute(sql.SQL(then))
            made[service, then] = name
        return made[service, then]

    return prepare


@pytest.fixture
def fresh_database(template_database: Callable[..., str], empty_database: Callable[..., str]) -> FreshDatabase:
    """Clone a service's template database at each call; dropped after the test."""
    return lambda service: empty_database(template=template_database(service))


@pytest.fixture
def empty_database(postgres_server: PostgresServer, superuser: psycopg.Connection) -> Iterator[Callable[..., str]]:
    """Create a database at each call, `template1`'s copy unless told; dropped after the test with its sessions."""
    names: list[str] = []

    def create(template: str = "template1") -> str:
        names.append(f"test_{next(_database_numbers)}")
        # In memory half as expensive as to send all of the template through the write-ahead log.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        superuser.execute(statement.format(sql.Identifier(names[-1]), sql.Identifier(template)))
        return postgres_server.dsn(names[-1])

    yield create
    for name in names:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def catalog_dsn(fresh_database: FreshDatabase) -> str:
    """Return the URL of a new database of the catalog service."""
    return fresh_database("catalog_service")


@pytest.fixture
def activity_dsn(fresh_database: FreshDatabase) -> str:
    """Return the URL of a new database of the activity service."""
    return fresh_database("activity_service")


@pytest.fixture
def metering_dsn(fresh_database: FreshDatabase) -> str:
    """Return the URL of a new database of the metering service."""
    return fresh_database("metering_service")
