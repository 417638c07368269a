"""The guide, as a stranger goes through it: each of its blocks in order, in one shell, on a real metering."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local_stack.processes import REPOSITORY
from tests.metering_client.conftest import ADMIN_KEY, EVENTS_KEY
from tests.metering_service.conftest import Metering

GUIDE = REPOSITORY / "docs" / "meter-your-endpoint.md"
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(sh|python|ts)\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
TIMEOUT_SECONDS = 120.0


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


def as_shell(directory: Path) -> str:
    """Return all blocks as one script; those of TypeScript as Node.js runs them, where there is one."""
    lines = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCKS):
        file = directory / f"block_{number}.{language}"
        file.write_text(code)
        lines.append(f"echo '--- {number} {language}'")
        if language == "sh":
            lines.append(code)
        elif language == "python":
            lines.append(f"{sys.executable} {file}")
        elif shutil.which("node"):
            script = file.with_suffix(".mjs")
            script.write_text(without_types(code))
            lines.append(f"node {script}")
    return "\n".join(lines)


def without_types(code: str) -> str:
    """Return TypeScript without its types: of the few shapes that the guide has, and of no others.

    Node.js 20 does not strip them itself. What is left over would not run, and the test would fail; that they are
    right is for `make clients`, which has a compiler.
    """
    code = re.sub(r"^type .*?;$", "", code, flags=re.M | re.S)
    code = re.sub(r"\): Promise<\w+> \{", ") {", code)
    code = re.sub(r" as string(?=,)|<any>|(?<=const answer): Answer", "", code)
    code = re.sub(r"(?<=let answer): string", "", code)
    return re.sub(r"\b(\w+): (string|object|number)(?=[,) ])", r"\1", code)


async def test_every_block_of_the_guide_runs_and_charges_what_it_says(stack: Path, metering: Metering) -> None:
    script = stack / "guide.sh"
    script.write_text(as_shell(stack))
    environment = {
        **os.environ,
        "STACK_DIR": str(stack),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHON": sys.executable,
    }
    ended = await asyncio.create_subprocess_exec(
        "bash",
        str(script),
        cwd=REPOSITORY,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(ended.communicate(), TIMEOUT_SECONDS)
    text = output.decode()
    assert ended.returncode == 0, text
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
