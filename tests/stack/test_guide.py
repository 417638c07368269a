"""The guide for metering an endpoint of one's own, on a stack as `make run` starts it."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.metering_client.guide import run_guide

pytestmark = [pytest.mark.stack, pytest.mark.system]


async def test_a_stranger_meters_an_endpoint_by_the_guide_alone(stack: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    await run_guide(tmp_path)
    headers = {"Authorization": f"Bearer {stack['service_keys']['admin']}"}
    url = f"{stack['metering']['url']}/internal/clients/acme/ledger?limit=1000"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        entries = (await response.json())["entries"]
    assert {entry["eventId"] for entry in entries if entry["kind"] == "spend"} >= {
        "llm.tokens:curl-1",
        "llm.tokens:python-1",
    }
