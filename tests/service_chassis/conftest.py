"""A service's package, as small as one can be."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local_stack.ports import choose_free_port
from tests.service_chassis.example import REPOSITORY, SERVICE, Example, Start


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A service's package."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "sql").mkdir()
    (tmp_path / "migrations" / "0001_first.sql").write_text("-- why: first\nCREATE TABLE first (n int);\n")
    (tmp_path / "migrations" / "0002_second.sql").write_text(
        "INSERT INTO first VALUES (1);\nINSERT INTO first VALUES (2);\n"
    )
    return tmp_path


@pytest.fixture
def start(empty_database: Callable[[], str]) -> Start:
    @contextlib.asynccontextmanager
    async def start_example(*, command: Sequence[str] = (), **settings: Any) -> AsyncIterator[Example]:
        ports = {name: choose_free_port() for name in ("port", "ops_port", "admin_port")}
        given = {"postgres_dsn": empty_database(), **ports, **settings}
        process = await asyncio.create_subprocess_exec(
            *(*command, sys.executable, "-c", SERVICE, json.dumps(given)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                yield Example(process, **ports)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()  # workers have the same output, and end after it

    return start_example
