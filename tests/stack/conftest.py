"""The stack that the tests marked `stack` talk to: the one STACK_JSON names, else one of this run's own."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stack.api import Api
from tests.stack.running_stack import RunningStack


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Run a stack of this run's own, and return it when it is ready."""
    running = RunningStack(tmp_path_factory.mktemp("stacks") / "tour")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the stack.json of a running stack."""
    if named := os.environ.get("STACK_JSON"):
        description: dict[str, Any] = json.loads(Path(named).read_text())
        return description
    running: RunningStack = request.getfixturevalue("running_stack")
    return running.description


@pytest.fixture
def log_directory(request: pytest.FixtureRequest) -> Path:
    """Return where the stack under test writes; for one that STACK_JSON names, beside that file."""
    if named := os.environ.get("STACK_JSON"):
        return Path(named).parent / "logs"
    running: RunningStack = request.getfixturevalue("running_stack")
    return running.directory / "logs"


@pytest.fixture
async def api(stack: dict[str, Any]) -> AsyncIterator[Api]:
    """Return the stack's three APIs."""
    async with aiohttp.ClientSession() as session:
        yield Api(stack, session)
