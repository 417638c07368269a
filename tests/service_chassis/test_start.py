"""What an operator sees of a process that cannot begin: one line that names the variable, exit 1, no stack trace."""

import socket
from collections.abc import Mapping

import asyncpg
import psycopg
import pytest
import redis
import typer

from local_stack.ports import choose_free_port
from service_chassis.cli import commands
from tests.operator_command import run_command, run_module

SECRET = "s3cr3t"


async def run(module: str, *arguments: str, **variables: str) -> tuple[int | None, list[str]]:
    """Run a module until it ends; return its exit code and the lines of its standard error."""
    done = await run_module(module, *arguments, **variables)
    return done.code, done.trace.splitlines()


def service_at(dsn: str, **variables: str) -> Mapping[str, str]:
    """Return the environment of a catalog on ports that are free."""
    return {"CATALOG_POSTGRES_DSN": dsn, **choose_ports("CATALOG"), **variables}


def choose_ports(prefix: str) -> Mapping[str, str]:
    """Return a service's ports as free ones: a stack may have those that it has by default."""
    return {f"{prefix}_{name}": str(choose_free_port()) for name in ("PORT", "OPS_PORT", "ADMIN_PORT")}


@pytest.mark.parametrize(
    ("parameter", "named"),
    [("connect_timeout=abc", "connect_timeout"), ("sslrootcert=/none", "sslrootcert"), ("service=nosuch", "service")],
)
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("catalog_service", ()),
        ("catalog_service", ("migrate",)),
        ("catalog_service", ("keys", "list")),
        ("local_stack.seed", ()),
    ],
    ids=["serve", "migrate", "a command", "seed"],
)
async def test_all_that_read_a_databases_url_refuse_the_same_in_the_same_words(
    module: str, arguments: tuple[str, ...], parameter: str, named: str
) -> None:
    url = f"postgresql://u:{SECRET}@127.0.0.1:1/db?{parameter}"
    prefix = "SEED" if module == "local_stack.seed" else "CATALOG"
    others = {"SEED_METERING_URL": "http://127.0.0.1:1", "SEED_METERING_KEY": SECRET}
    code, [said] = await run(module, *arguments, **{f"{prefix}_POSTGRES_DSN": url}, **others)
    assert code == 1
    assert f"{prefix}_POSTGRES_DSN" in said
    assert named in said
    assert SECRET not in said


async def test_the_demos_seeding_names_the_url_that_it_cannot_call(catalog_dsn: str) -> None:
    code, [said] = await run(
        "local_stack.seed", SEED_POSTGRES_DSN=catalog_dsn, SEED_METERING_URL="metering", SEED_METERING_KEY="k"
    )
    assert code == 1
    assert said.startswith("seed: SEED_METERING_URL: ")


@pytest.mark.parametrize(
    ("find", "change", "said_of_it"),
    [
        ("://postgres:", "://nobody:", "does not accept its user or password"),
        ("/test_", "/nothing_", "has no database of its name"),
        ("?", "?sslmode=require&", "does not speak TLS"),
        ("?", "?options=-c%20no_such_setting%3D1&", "does not take what its options ask for"),
        ("?", "?options=-c%20work_mem%3Dnone&", "does not take what its options ask for"),
    ],
)
async def test_a_server_that_refuses_the_url_for_good_is_one_line_and_no_process(
    catalog_dsn: str, find: str, change: str, said_of_it: str
) -> None:
    url = catalog_dsn if find != "?" else f"{catalog_dsn}?"
    assert find in url
    code, said = await run("catalog_service", **service_at(url.replace(find, change).rstrip("?&")))
    assert code == 1
    assert [line for line in said if line.startswith("catalog_service: CATALOG_POSTGRES_DSN: ")]
    assert said_of_it in said[-1]
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("query", ["decode_responses=1", "protocol=9", "ssl_cert_reqs=none", "retry=3"])
async def test_a_url_for_request_rates_that_cannot_be_used_is_one_line(metering_dsn: str, query: str) -> None:
    code, [said] = await run(
        "metering_service",
        METERING_POSTGRES_DSN=metering_dsn,
        METERING_REDIS_URL=f"redis://:{SECRET}@127.0.0.1:1/0?{query}",
        METERING_SERVICE_KEYS=f"events:tests:{'0' * 64}",
        **choose_ports("METERING"),
    )
    assert code == 1
    assert said.startswith("metering_service: METERING_REDIS_URL: ")
    assert query.partition("=")[0] in said
    assert SECRET not in said


@pytest.mark.parametrize("login", [f":{SECRET}@", f"nobody:{SECRET}@", "reader:reader@"])
async def test_a_server_of_request_rates_that_does_not_let_us_in_is_one_line(
    metering_dsn: str, redis_url: str, login: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">reader", "~*", "+@read", "+info")
    code, [said] = await run(
        "metering_service",
        METERING_POSTGRES_DSN=metering_dsn,
        METERING_REDIS_URL=f"redis://{login}{redis_url.rpartition('@')[2].removeprefix('redis://')}",
        METERING_SERVICE_KEYS=f"events:tests:{'0' * 64}",
    )
    assert code == 1
    assert said.startswith("metering_service: METERING_REDIS_URL: ")
    assert SECRET not in said


@pytest.mark.parametrize("variable", ["CATALOG_PORT", "CATALOG_OPS_PORT", "CATALOG_ADMIN_PORT"])
async def test_a_port_in_use_is_named_with_its_variable(catalog_dsn: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        code, said = await run("catalog_service", **service_at(catalog_dsn, **{variable: str(port)}))
    assert (code, said) == (1, [f"catalog_service: {variable}: port {port} of 127.0.0.1 is in use"])


@pytest.mark.parametrize("variable", ["CATALOG_HOST", "CATALOG_OPS_HOST", "CATALOG_ADMIN_HOST"])
@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "a..b", "a" * 70])
async def test_a_host_that_cannot_be_listened_on_is_named_with_its_variable(
    catalog_dsn: str, variable: str, host: str
) -> None:
    code, [said] = await run("catalog_service", **service_at(catalog_dsn, **{variable: host}))
    assert code == 1
    assert said.startswith(f"catalog_service: {variable}: {host} ")


async def test_what_only_one_library_reads_of_the_environment_changes_nothing(metering_dsn: str) -> None:
    variables = {"PGOPTIONS": "-c default_transaction_read_only=on", "PGSERVICE": "nowhere", "PGCONNECT_TIMEOUT": "x"}
    for arguments in (["migrate"], ["policies", "list"]):
        done = await run_command("metering", metering_dsn, *arguments, **variables)
        assert done.code == 0, done.trace


async def test_what_is_said_of_a_database_names_the_services_own_variable(catalog_dsn: str) -> None:
    for dsn, words in (
        (f"{catalog_dsn}_not", "there is no database"),
        ("postgresql://u@127.0.0.1:1/db", "cannot be reached"),
        ("postgresql://u@no-such-host.invalid/db", "cannot be reached"),
        (catalog_dsn.replace("postgres:", "postgres:not-"), "does not accept the user or the password"),
        (f"{catalog_dsn}?target_session_attrs=standby", "target_session_attrs"),
        (f"{catalog_dsn}?options=-c%20no_such_setting%3D1", "options"),
    ):
        code, [said] = await run("catalog_service", "keys", "list", CATALOG_POSTGRES_DSN=dsn)
        assert code == 1
        assert words in said
        assert "CATALOG_POSTGRES_DSN" in said
        assert await run("catalog_service", "migrate", CATALOG_POSTGRES_DSN=dsn) == (1, [said])


def errors_of(module: object, base: type[Exception]) -> list[type[Exception]]:
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base)]
    return [each for each in found if not issubclass(each, Warning | psycopg.Warning)]


def test_whatever_a_driver_raises_ends_a_command_in_one_line() -> None:
    for kind in [*errors_of(asyncpg.exceptions, Exception), *errors_of(psycopg.errors, Exception)]:
        error = kind("words")
        with pytest.raises(SystemExit) as ended:
            commands.run_commands(raises(error), "catalog_service", [])
        said = str(ended.value)
        assert said.startswith("catalog_service: "), kind
        assert "{" not in said
        assert "\n" not in said


def raises(error: Exception) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    def fail() -> None:
        raise error

    app.command()(fail)
    return app
