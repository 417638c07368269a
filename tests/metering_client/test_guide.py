"""The guide, as a stranger goes through it: each of its blocks in order, in one shell, on a real metering."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import metering_client
from tests.metering_client.conftest import ADMIN_KEY, EVENTS_KEY
from tests.metering_client.guide import BLOCKS, GUIDE, run_guide
from tests.metering_service.conftest import Metering


@pytest.fixture
def stack(tmp_path: Path, metering_url: str, empty_database: Callable[..., str]) -> Path:
    """A directory with the stack.json of a stack, as far as the guide reads it."""
    document = {
        "metering": {"url": metering_url.rstrip("/")},
        "service_keys": {"llm": EVENTS_KEY, "admin": ADMIN_KEY},
        "postgres": {"dsn": {"llm": empty_database()}},
    }
    (tmp_path / "stack.json").write_text(json.dumps(document))
    return tmp_path


async def test_every_block_of_the_guide_runs_and_charges_what_it_says(stack: Path, metering: Metering) -> None:
    text = await run_guide(stack)
    assert "completions: sound. Every invariant holds" in text
    assert "Recharged(uncharged=0, announced=0)" in text
    charged = {spend["eventId"].partition(":")[2]: spend["units"] for spend in await metering.spends("acme")}
    by_the_library = [units for name, units in charged.items() if len(name) == 36]
    assert by_the_library == [6]
    assert charged["curl-1"] == 150
    assert charged["python-1"] == 6
    assert charged.get("ts-1", 6) == 6
    assert ("ts-1" in charged) == bool(shutil.which("node"))


def test_the_guides_ten_lines_are_ten() -> None:
    code = next(code for language, code in BLOCKS if language == "python")
    [sell] = re.findall(r"^async def sell.*?(?=\n\n)", code, re.M | re.S)
    assert len(sell.splitlines()) <= 10


def test_every_error_of_the_guide_can_be_caught_by_its_name() -> None:
    named = re.findall(r"^\| `(\w+)` \| \d{3} \|", GUIDE.read_text(), re.M)
    assert {"EventRefused", "EventConflict", "EventNotSold"} <= set(named) <= set(metering_client.__all__)
