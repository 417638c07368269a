"""Activity services on a real database, beside a metering that follows the contract and an issuer of tokens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp.pytest_plugin import AiohttpClient, AiohttpServer

from activity_service.app import create_app
from activity_service.cli.main import run as run_command_line
from activity_service.settings import ActivitySettings
from service_chassis.clock import Clock, system_clock
from service_chassis.database.pool import open_pool
from tests.activity_service.activity import AUDIENCE, ISSUER, Activity, Issuer
from tests.activity_service.database_proxy import DatabaseProxy
from tests.activity_service.metering_double import KEY, MeteringDouble

NEVER_SECONDS = 3600.0

StartActivity = Callable[..., Awaitable[Activity]]
"""Starts one more service on the test's database and metering; takes settings by name."""


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def pool(activity_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """An operator's connections to the test's database."""
    async with open_pool(activity_dsn, size=4, application_name="test") as pool:
        yield pool


@pytest.fixture
async def metering() -> AsyncIterator[MeteringDouble]:
    double = MeteringDouble()
    yield double
    double.open_all()


@pytest.fixture
async def proxy(activity_dsn: str) -> AsyncIterator[DatabaseProxy]:
    """A wire to the test's database; pass its `dsn` as postgres_dsn."""
    proxy = DatabaseProxy(activity_dsn)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def settings(
    activity_dsn: str, metering: MeteringDouble, issuer: Issuer, aiohttp_server: AiohttpServer
) -> ActivitySettings:
    """Settings with which background work does nothing by itself after its first round, except when kicked."""
    metering_server = await aiohttp_server(metering.create_app())
    issuer_server = await aiohttp_server(issuer.create_app())
    return ActivitySettings(
        postgres_dsn=activity_dsn,
        token_issuer=ISSUER,
        token_audience=AUDIENCE,
        jwks_url=str(issuer_server.make_url("/.well-known/jwks.json")),
        metering_url=str(metering_server.make_url("/")),
        metering_key=KEY,
        relay_poll_seconds=NEVER_SECONDS,
        sweep_interval_seconds=NEVER_SECONDS,
    )


@pytest.fixture
def start_activity(
    settings: ActivitySettings,
    metering: MeteringDouble,
    issuer: Issuer,
    pool: asyncpg.Pool,
    aiohttp_client: AiohttpClient,
) -> StartActivity:
    async def start(clock: Clock = system_clock, **changed: Any) -> Activity:
        app = create_app(ActivitySettings(**{**vars(settings), **changed}), clock=clock)
        activity = Activity(await aiohttp_client(app), app, metering, issuer, pool)
        await activity.finish_first_rounds()
        return activity

    return start


@pytest.fixture
async def activity(start_activity: StartActivity) -> Activity:
    return await start_activity()


Run = Callable[..., tuple[int, str, str]]
"""Runs a command with a database's URL and returns its exit code, standard output and standard error."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run_with(dsn: str | None, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        if dsn is None:
            monkeypatch.delenv("ACTIVITY_POSTGRES_DSN", raising=False)
        else:
            monkeypatch.setenv("ACTIVITY_POSTGRES_DSN", dsn)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command_line(list(arguments))
        output = capsys.readouterr()
        code = ended.value.code
        if isinstance(code, str):  # Python prints it on standard error and exits with 1
            return 1, output.out, output.err + code + "\n"
        return code or 0, output.out, output.err

    return run_with
