"""One reading of a database's URL: alike for what serves and what migrates, and silent about secrets."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from marshmallow import ValidationError
from psycopg import sql

from service_chassis.database.migrations import Schema, apply_schema
from service_chassis.database.pool import open_pool
from service_chassis.database.url import as_asyncpg_url, read_database_url, with_database

SECRET = "s3cr3t"
NOTHING = Schema(Path(__file__).parent, frozenset(), {})


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:s3cr3t%w@h/db", "%25"),
        ("postgresql://u:s3@cr3t@h/db", "%40"),
        ("postgresql://u:s3cr3t/x@h/db", "%2F"),
        ("postgresql://u:s3cr3t@h:none/db", "port"),
        ("postgresql://u:s3cr3t@h/db?channel_binding=require", "channel_binding"),
        ("postgresql://u:s3cr3t@h/db?gssencmode=require", "gssencmode"),
        ("postgresql://u:s3cr3t@h/db?hostaddr=127.0.0.1", "hostaddr"),
        ("postgresql://u:s3cr3t@h/db?require_auth=md5", "require_auth"),
        ("postgresql://u:s3cr3t@h/db?statement_timeout=5", "statement_timeout"),
        ("postgresql://u:s3cr3t@h/db?sslmode", "expected"),
        ("postgresql+asyncpg://u:s3cr3t@h/db", "expected"),
        ("mysql://u:s3cr3t@h/db", "expected"),
        ("host=h password=s3cr3t", "expected"),
        ("", "expected"),
    ],
)
def test_what_cannot_be_used_is_named_without_a_secret(url: str, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read_database_url(url)
    assert named in str(refused.value)
    assert not any(part in str(refused.value) for part in (SECRET, "s3", "cr3t"))


def test_hosts_and_addresses_are_handed_on() -> None:
    assert "host=a%2Cb" in as_asyncpg_url("postgresql://a:1,b:2/db?target_session_attrs=read-write")
    assert "%5B%3A%3A1%5D" in as_asyncpg_url("postgresql://[::1]:5432/db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2F%23x@h:1/a?sslmode=require",
        "postgresql://u@a,b:2/a",
        "postgresql://[::1]:5432/a",
        "postgresql:///a?host=/run/pg",
        "postgresql://u:p#q?r@h/a",
    ],
)
def test_another_database_of_the_same_server_differs_in_nothing_else(url: str) -> None:
    assert read_database_url(with_database(url, "b c")) == {**read_database_url(url), "dbname": "b c"}


@pytest.fixture
def database(empty_database: Callable[[], str]) -> str:
    """The URL of a database that somebody with a hard password owns, `{}` where its password stands."""
    dsn = empty_database()
    parts = read_database_url(dsn)
    user = f"owner_of_{parts['dbname']}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal("a#b?c%d"))
        )
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(parts["dbname"]), sql.Identifier(user))
        )
    return f"postgresql://{user}:{{}}@{parts['host']}:{parts['port']}/{parts['dbname']}"


@pytest.mark.parametrize("password", ["a#b?c%25d", "a%23b%3Fc%25d"])
@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "?channel_binding=prefer&connect_timeout=7&gssencmode=disable&keepalives=1&keepalives_idle=30&sslmode=prefer",
        "?application_name=mine&client_encoding=utf8&load_balance_hosts=disable&target_session_attrs=read-write",
        "?options=-c%20geqo%3Doff",
    ],
)
async def test_what_migrates_and_what_serves_read_a_url_alike(database: str, password: str, parameters: str) -> None:
    url = database.format(password) + parameters
    apply_schema(url, NOTHING)
    async with open_pool(url, size=1, application_name="test") as pool, pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sql_function") == 0


async def test_the_next_host_is_taken_where_the_first_is_away(database: str) -> None:
    url = database.format("a#b?c%25d").replace("@", "@127.0.0.1:1,")
    apply_schema(url, NOTHING)
    async with open_pool(url, size=1, application_name="test") as pool, pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sql_function") == 0
