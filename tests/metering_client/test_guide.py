"""The guide, as a stranger goes through it: each of its blocks in order, in one shell, on a real metering."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import metering_client
from tests.metering_client.conftest import ADMIN_KEY, CREATE_COMPLETIONS, EVENTS_KEY, FACTS
from tests.metering_client.guide import BLOCKS, GUIDE, run_guide
from tests.metering_service.conftest import Metering

pytestmark = pytest.mark.system


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
    assert "Recharged(uncharged=0, announced=0, in_flight=0)" in text
    charged = {spend["eventId"].partition(":")[2]: spend["units"] for spend in await metering.spends("acme")}
    by_the_library = [units for name, units in charged.items() if len(name) == 36]
    assert by_the_library == [6]
    assert charged["curl-1"] == 150
    assert charged["python-1"] == 6
    assert charged.get("ts-1", 6) == 6
    assert ("ts-1" in charged) == bool(shutil.which("node"))


async def test_the_guides_check_of_the_books_finds_a_fact_that_is_parked(
    stack: Path, metering_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = json.loads((stack / "stack.json").read_text())["postgres"]["dsn"]["llm"]
    connection = await asyncpg.connect(dsn)
    await connection.execute(CREATE_COMPLETIONS)
    await metering_client.create_tables(connection, facts=FACTS)
    await connection.execute(
        "INSERT INTO completion VALUES ('llm.tokens:1', 'acme', NULL, 1, now() - interval '1 hour'); "
        "INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at, "
        "next_attempt_at, parked_at) SELECT gen_random_uuid(), event_id, 'happened', client_id, 'llm.tokens', 1, "
        "created_at, created_at, now() FROM completion"
    )
    await connection.close()
    for name, value in (("METERING_URL", metering_url), ("ADMIN_KEY", ADMIN_KEY), ("LLM_POSTGRES_DSN", dsn)):
        monkeypatch.setenv(name, value)
    [code] = [code for _, code in BLOCKS if "check_charges" in code]
    names: dict[str, Any] = {}
    exec(code.replace("asyncio.run(check())", ""), names)
    await names["check"]()
    assert "1 violation" in capsys.readouterr().out


def test_the_guides_ten_lines_are_ten() -> None:
    code = next(code for language, code in BLOCKS if language == "python")
    [sell] = re.findall(r"^async def sell.*?(?=\n\n)", code, re.M | re.S)
    assert len(sell.splitlines()) <= 10


def test_every_error_of_the_guide_can_be_caught_by_its_name() -> None:
    named = re.findall(r"^\| `(\w+)` \| \d{3} \|", GUIDE.read_text(), re.M)
    assert {"EventRefused", "EventConflict", "EventNotSold"} <= set(named) <= set(metering_client.__all__)
