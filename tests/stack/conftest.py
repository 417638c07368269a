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
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return the stack.json of a running stack."""
    if named := os.environ.get("STACK_JSON"):
        yield json.loads(Path(named).read_text())
        return
    running = RunningStack(tmp_path_factory.mktemp("stacks") / "tour")
    try:
        yield running.wait_until_ready()
    finally:
        running.end()


@pytest.fixture
async def api(stack: dict[str, Any]) -> AsyncIterator[Api]:
    """Return the stack's three APIs."""
    async with aiohttp.ClientSession() as session:
        yield Api(stack, session)
