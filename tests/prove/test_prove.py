"""`make prove`, in its short form: what it says of the product, of a broken one, and what it leaves behind."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from local_stack.processes import REPOSITORY
from prove.run import forget_leftovers

pytestmark = pytest.mark.system

MARKER = "PROVE_TEST"
RUN_TIMEOUT_SECONDS = 240.0

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


class Run:
    """A run of `module`, in a temporary directory of its own; every process of it bears a mark."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = uuid.uuid4().hex
        self.process: Process | None = None

    async def start(self, module: str, *arguments: str) -> Process:
        return await self.start_command(sys.executable, "-u", "-m", module, *arguments)

    async def start_command(self, *command: str) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            *command,
            cwd=REPOSITORY,
            env={**os.environ, MARKER: self._mark, "TMPDIR": str(self.directory)},
            stdout=PIPE,
            stderr=PIPE,
        )
        return self.process

    async def read_until(self, words: str) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
            while words not in (line := await self.process.stdout.readline()).decode():
                assert line, f"it ended before it said {words}"

    async def end(self) -> tuple[int | None, str, str]:
        assert self.process is not None
        async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
            output, trace = await self.process.communicate()
        return self.process.returncode, output.decode(), trace.decode()

    def processes(self) -> list[str]:
        """Return the command lines of the processes of this run that there are."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARKER}={self._mark}".encode() in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_text())
            except OSError:
                continue
        return found

    def leftovers(self) -> list[Path]:
        return list(self.directory.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


async def test_the_product_oversells_nothing_charges_nothing_twice_and_loses_nothing(run: Run) -> None:
    await run.start("prove", "--quick")
    code, output, trace = await run.end()
    assert (code, trace) == (0, "")
    assert re.search(r"^this product +oversold 0, charged twice 0, lost 0$", output, re.MULTILINE)
    assert output.count("Every invariant holds") == 2
    assert '"policyVersion"' in output
    assert "kill -9" in output
    for usual in ("check, then track", "debit, then retry"):
        assert re.search(rf"^{usual} +oversold \d+, charged twice \d+, lost \d+$", output, re.MULTILINE)
    assert run.leftovers() == []


async def test_a_product_with_a_bug_is_said_to_be_unsound_and_ends_with_exit_code_1(run: Run) -> None:
    # The one that shows in every run; those that oversell do so by chance in so short a time.
    await run.start("tests.prove.with_bug", "new-event-id-per-attempt")
    code, output, trace = await run.end()
    assert (code, trace) == (1, "")
    assert re.search(r"^this product +oversold 0, .*lost [1-9]", output, re.MULTILINE)
    assert "NOT SOUND" in output
    assert [path.name for path in run.leftovers()] == re.findall(rf"kept in {run.directory}/(\S+)", output)


@linux
@pytest.mark.parametrize("moment", ["Starting", "kill -9"])
async def test_ctrl_c_at_any_time_leaves_nothing_running(run: Run, moment: str) -> None:
    process = await run.start("prove", "--quick")
    await run.read_until(moment)
    process.send_signal(signal.SIGINT)
    code, output, trace = await run.end()
    assert (code, trace) == (130, "")
    assert "nothing of it runs any more" in output
    assert run.processes() == []
    assert run.leftovers() == []


@linux
async def test_a_run_that_nobody_reads_any_more_ends_and_is_no_verdict(run: Run) -> None:
    await run.start_command("bash", "-c", f"set -o pipefail; {sys.executable} -u -m prove --quick | head -1")
    code, _, trace = await run.end()
    assert (code, trace) == (4, "prove: nobody reads what is shown any more\n")
    assert run.processes() == []
    assert run.leftovers() == []


@linux
async def test_what_a_killed_run_froze_and_left_is_gone_before_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await run.start("prove", "--quick")
    await run.read_until("freeze   PostgreSQL")
    process.kill()
    await run.end()
    [left] = run.leftovers()
    monkeypatch.setattr(tempfile, "tempdir", str(run.directory))
    forget_leftovers()
    assert not left.exists()
    assert run.processes() == []
