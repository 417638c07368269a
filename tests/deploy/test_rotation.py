"""Secrets are changed as docs/operations/rotation.md says, with callers on the service all the while."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from psycopg.conninfo import conninfo_to_dict

from metering_service.app import create_app
from metering_service.settings import MeteringSettings
from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent
OLD_KEY, NEW_KEY, ADMIN_KEY = "old-key-of-activity", "new-key-of-activity", "key-of-the-operators"
AT_ONCE = 5
"""As many calls as their pool has connections: one that was asked for one thing at a time must open more."""

Start = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def start(redis_url: str) -> AsyncIterator[Start]:
    """Start a metering on a database at each call, with activity's keys."""
    async with AsyncExitStack() as running:

        async def start_one(dsn: str, *keys: str) -> TestClient[Any, Any]:
            entries = [("admin:ops", ADMIN_KEY), *(("events:activity", key) for key in keys or (OLD_KEY,))]
            hashes = tuple(f"{whose}:{hashlib.sha256(key.encode()).hexdigest()}" for whose, key in entries)
            settings = MeteringSettings(postgres_dsn=dsn, redis_url=redis_url, service_keys=hashes)
            client: TestClient[Any, Any] = TestClient(TestServer(create_app(settings)))
            return await running.enter_async_context(client)

        yield start_one


async def call(service: TestClient[Any, Any], count: int = 1) -> set[int]:
    """Call so many times at once; return the statuses."""

    async def once() -> int:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with service.get("/internal/policies", headers=headers) as response:
            return response.status

    return set(await asyncio.gather(*(once() for _ in range(count))))


async def test_a_database_password_is_changed_without_a_refused_request(
    empty_database: Callable[[], str], start: Start
) -> None:
    superuser = empty_database()
    there = conninfo_to_dict(superuser)
    owner = f"owner_of_{there['dbname']}"

    def url(role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{there['host']}:{there['port']}/{there['dbname']}"

    with psycopg.connect(superuser, autocommit=True) as administrator:

        def set_password(password: str) -> None:
            administrator.execute(f"ALTER ROLE {owner} PASSWORD '{password}'")

        administrator.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'first'")
        administrator.execute(f"ALTER DATABASE {there['dbname']} OWNER TO {owner}")
        apply_schema(url(owner, "first"), schema_of("metering_service"))
        before = await start(url(owner, "first"))
        assert await call(before) == {200}

        # As deploy/change-password: while the password changes, nobody logs in with it.
        administrator.execute(f"CREATE ROLE {owner}_meanwhile LOGIN IN ROLE {owner} PASSWORD 'meanwhile'")
        meanwhile = await start(url(f"{owner}_meanwhile", "meanwhile"))
        assert await call(before, AT_ONCE) | await call(meanwhile) == {200}
        await before.close()
        set_password("second")
        assert await call(meanwhile, AT_ONCE) == {200}
        after = await start(url(owner, "second"))
        await meanwhile.close()
        administrator.execute(f"DROP ROLE {owner}_meanwhile")
        assert await call(after, AT_ONCE) == {200}

        # Changed under a process that logs in with it, what is open goes on, and a new connection is refused.
        set_password("third")
        assert await call(after, AT_ONCE) == {200}
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url(owner, "second"))


async def test_a_service_key_is_changed_without_a_refused_request(metering_dsn: str, start: Start) -> None:
    async def ask(service: TestClient[Any, Any], key: str, path: str, event: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with service.post(f"/internal/events/{path}", json={"events": [event]}, headers=headers) as response:
            return response.status, await response.json()

    held = {"clientId": "acme", "holdId": str(uuid.uuid4()), "eventId": "report.rendered:1"}
    before = await start(metering_dsn, OLD_KEY)
    status, answer = await ask(before, OLD_KEY, "authorize", held | {"eventType": "report.rendered"})
    assert (status, answer["decisions"][0]["decision"]) == (200, "granted")

    # Both are good while metering's processes are replaced, and then the callers'.
    both = await start(metering_dsn, NEW_KEY, OLD_KEY)
    for key in (OLD_KEY, NEW_KEY):
        assert (await ask(both, key, "release", held | {"holdId": str(uuid.uuid4())}))[0] == 200
    after = await start(metering_dsn, NEW_KEY)
    assert (await ask(after, OLD_KEY, "settle", held))[0] == 401
    # A hold is the name's that made it, whichever key of it was used.
    status, answer = await ask(after, NEW_KEY, "settle", held)
    assert (status, answer["results"][0]["state"]) == (200, "settled")


ENGINE = """#!/bin/sh
# Writes down what it is told, and with which URL a process would start now.
{ echo "> $*"; case "$*" in *psql*) cat ;; *--quiet*) ;; *) cat secrets/metering/postgres_dsn ;; esac; } >>calls
case "$*" in "compose ps"*) echo container-1 ;; esac
"""


def test_change_password_changes_it_while_no_process_logs_in_with_it(tmp_path: Path) -> None:
    for name in ("roll", "change-password", "write_env.py"):
        (tmp_path / "deploy").mkdir(exist_ok=True)
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    engine = tmp_path / "engine"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    subprocess.run(["python3", "deploy/write_env.py"], cwd=tmp_path, check=True)
    dsn = tmp_path / "secrets" / "metering" / "postgres_dsn"
    first = dsn.read_text()
    environment = {**os.environ, "ENGINE": str(engine)}
    subprocess.run(["deploy/change-password", "metering"], cwd=tmp_path, env=environment, check=True)

    calls = (tmp_path / "calls").read_text()
    made, rolled, changed, again, dropped = (
        calls.index("CREATE ROLE metering_meanwhile LOGIN IN ROLE metering"),
        calls.index("postgresql://metering_meanwhile:"),
        calls.index("create-databases.sh"),
        calls.index(dsn.read_text(), calls.index("create-databases.sh")),
        calls.index("DROP ROLE metering_meanwhile"),
    )
    assert made < rolled < changed < again < dropped
    assert first not in calls
    assert dsn.read_text() != first
    [password] = (tmp_path / "secrets" / "postgres" / "metering_password").read_text().split()
    assert f"postgresql://metering:{password}@" in dsn.read_text()
    words = "".join(line for line in calls.splitlines() if line.startswith(">"))
    assert password not in words
