"""What the local stack's own process promises: all of it or nothing, and nothing lost."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.stack.running_stack import RunningStack

pytestmark = pytest.mark.system


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def count_ledger_lines(stack: RunningStack) -> int:
    with psycopg.connect(stack.description["postgres"]["dsn"]["metering"]) as connection:
        row = connection.execute("SELECT count(*) FROM ledger_entry").fetchone()
    assert row
    return int(row[0])


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[Callable[[int | None], RunningStack]]:
    """Start a stack on the test's one state directory at each call; all of them are ended after the test."""
    started: list[RunningStack] = []

    def start(port_base: int | None = None) -> RunningStack:
        started.append(RunningStack(tmp_path / "stack", port_base))
        return started[-1]

    yield start
    for stack in started:
        stack.end()


def living_children(stack: RunningStack) -> list[str]:
    return [name for name, pid in stack.description["pids"].items() if is_alive(pid)]


def test_nothing_is_left_behind_and_nothing_is_lost(start_stack: Callable[..., RunningStack]) -> None:
    first = start_stack()
    first.wait_until_ready()
    lines = count_ledger_lines(first)
    assert lines > 0
    assert first.stack_file.stat().st_mode & 0o777 == 0o600
    assert len(living_children(first)) == 5

    second = start_stack(first.port_base + 100)
    assert second.process.wait(30) == 1
    assert "already running" in second.output.splitlines()[-1]
    assert first.stack_file.exists()

    # Ctrl-C: all of it ends, in order, with status 0.
    assert first.end(signal.SIGINT) == 0
    assert not first.stack_file.exists()
    assert living_children(first) == []

    # The next start has the same data and keys, and grants nothing again.
    restarted = start_stack(first.port_base)
    restarted.wait_until_ready()
    assert restarted.description["service_keys"] == first.description["service_keys"]
    assert count_ledger_lines(restarted) == lines

    # A stack that is killed takes its children along, and the next start waits for their end.
    restarted.end(signal.SIGKILL)
    restarted.stack_file.unlink()
    after_kill = start_stack(first.port_base)
    after_kill.wait_until_ready()
    assert living_children(restarted) == []
    assert count_ledger_lines(after_kill) == lines

    # A child that dies takes the stack along, which says who it was.
    os.kill(after_kill.description["pids"]["metering"], signal.SIGKILL)
    assert after_kill.process.wait(60) == 1
    assert "metering was ended by SIGKILL; its log is" in after_kill.output
    assert not after_kill.stack_file.exists()
    assert living_children(after_kill) == []
