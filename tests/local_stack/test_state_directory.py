"""One stack per state directory, and what it keeps there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.errors import StackError
from local_stack.state_directory import directory_from, forget_data, lock_state_directory


def test_a_second_stack_on_the_same_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    with (
        lock_state_directory(tmp_path),
        pytest.raises(StackError, match=r"already running on .*STACK_DIR and STACK_PORT_BASE"),
        lock_state_directory(tmp_path),
    ):
        pass


def test_a_stack_waits_for_the_children_of_one_that_was_killed(tmp_path: Path) -> None:
    with lock_state_directory(tmp_path) as state:
        leftover = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=[state.children_lock],
        )
    assert leftover.stdin is not None
    leftover.stdin.close()  # it ends at some moment from here on
    with lock_state_directory(tmp_path):
        assert leftover.wait(timeout=10) == 0


def test_leftovers_that_do_not_end_are_named_with_the_file_that_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.state_directory.LEFTOVER_WAIT_SECONDS", 0.0)
    with lock_state_directory(tmp_path) as state:
        leftover = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[state.children_lock]
        )
    try:
        with pytest.raises(StackError, match=r"children\.lock open"), lock_state_directory(tmp_path):
            pass
    finally:
        leftover.kill()
        leftover.communicate()


def test_secrets_are_generated_once_and_private(tmp_path: Path) -> None:
    with lock_state_directory(tmp_path) as state:
        first = state.load_secrets()
        assert state.load_secrets() == first
    assert len(set(first.values())) == len(first)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_stack_file_is_private_and_can_be_taken_back(tmp_path: Path) -> None:
    with lock_state_directory(tmp_path) as state:
        state.write_stack_file({"redis": {"url": "redis://"}})
        assert json.loads(state.stack_file.read_text()) == {"redis": {"url": "redis://"}}
        assert state.stack_file.stat().st_mode & 0o777 == 0o600
        state.remove_stack_file()
        state.remove_stack_file()
        assert not state.stack_file.exists()


def test_forgetting_data_spares_a_running_stack_and_any_other_directory(tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    with lock_state_directory(stack), pytest.raises(StackError, match="already running"):
        forget_data(stack)
    forget_data(stack)
    assert not stack.exists()

    (tmp_path / "thesis.txt").touch()
    with pytest.raises(StackError, match="no state directory"):
        forget_data(tmp_path)


def test_the_directory_is_the_environments_or_a_hidden_one() -> None:
    assert directory_from({"STACK_DIR": "/var/stack"}) == Path("/var/stack")
    assert directory_from({}) == Path.cwd() / ".local"
