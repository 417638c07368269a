"""`./ctl` finds the stack that runs, hands a command on as it was given, and says in one line what it cannot do."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT

PRINTS_ARGUMENTS = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
ENGINE = """#!/bin/sh
[ "$2" = ps ] && echo container && exit
printf '%s\\n' "$@"
"""


def ctl(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of it, so that what runs in this directory is not found."""
    shutil.copy(ROOT / "ctl", directory / "ctl")
    environment = {"PATH": os.environ["PATH"], "ENGINE": str(directory / "no-engine"), **variables}
    return subprocess.run(
        [sys.executable, str(directory / "ctl"), *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def write_program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a stack's directory, whose Python prints what it is given."""
    directory = tmp_path / "stack"
    directory.mkdir()
    description = {
        "python": write_program(tmp_path / "python", PRINTS_ARGUMENTS),
        "variables": {"metering": {}},
        "catalog": {"url": "http://127.0.0.1:1"},
        "activity": {"url": "http://127.0.0.1:2"},
    }
    (directory / "stack.json").write_text(json.dumps(description))
    return directory


def test_the_stack_that_holds_its_lock_is_found(tmp_path: Path, stack: Path) -> None:
    with (stack / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = ctl(tmp_path, "addresses", STACK_DIR=str(stack))
    assert done.stdout == "CATALOG=http://127.0.0.1:1\nACTIVITY=http://127.0.0.1:2\n"


def test_a_stack_that_was_killed_does_not_run(tmp_path: Path, stack: Path) -> None:
    (stack / "lock").touch()
    for command in (["addresses"], ["metering", "balance", "acme"]):
        done = ctl(tmp_path, *command, STACK_DIR=str(stack))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"ctl: no stack runs on STACK_DIR={stack}\n"
    stack.rename(tmp_path / ".local")
    assert ctl(tmp_path, "addresses").stderr.startswith("ctl: nothing runs here: ")


@pytest.mark.parametrize("text", ["", "{"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, stack: Path, text: str) -> None:
    (stack / "stack.json").write_text(text)
    done = ctl(tmp_path, "addresses", STACK_DIR=str(stack))
    assert done.returncode == 1
    assert done.stderr.startswith(f"ctl: {stack / 'stack.json'} cannot be read: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_python_that_is_gone_is_one_line(tmp_path: Path, stack: Path) -> None:
    (tmp_path / "python").unlink()
    done = ctl(tmp_path, "metering", "audit", STACK_DIR=str(stack))
    assert done.returncode == 1
    assert done.stderr.startswith(f"ctl: {tmp_path / 'python'}, which the stack was started with, cannot be run: ")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_command_the_service_lists_its_own_and_does_not_serve(tmp_path: Path, stack: Path) -> None:
    assert ctl(tmp_path, "metering", STACK_DIR=str(stack)).stdout.split() == ["-m", "metering_service", "--help"]


def run_in_container(directory: Path, *command: str) -> list[str]:
    """Return what the engine is told."""
    engine = write_program(directory / "engine", ENGINE)
    return ctl(directory, *command, ENGINE=engine).stdout.splitlines()


def test_a_client_that_is_called_as_a_file_stays_a_client(tmp_path: Path) -> None:
    (tmp_path / "acme").touch()
    told = run_in_container(tmp_path, "metering", "assign", "acme", "starter")
    assert "--volume" not in told
    assert told[-4:] == ["metering-migrate", "assign", "acme", "starter"]


def test_files_are_handed_into_the_container(tmp_path: Path) -> None:
    for name in ("plans.csv", "key"):
        (tmp_path / name).touch()
    (plans, key) = (str(tmp_path / name) for name in ("plans.csv", "key"))
    told = run_in_container(tmp_path, "catalog", "plans", "import", "plans.csv", "--client", "acme")
    assert f"{plans}:{plans}:ro,z" in told
    assert told[-4:] == ["import", plans, "--client", "acme"]
    for given, kept in (
        (["--metering-key-file", "key"], ["--metering-key-file", key]),
        (["--metering-key-file=key"], [f"--metering-key-file={key}"]),
    ):
        told = run_in_container(tmp_path, "activity", "audit", *given)
        assert f"{key}:{key}:ro,z" in told
        assert told[-len(kept) :] == kept


def test_an_engine_that_cannot_say_is_quoted_where_there_is_a_project(tmp_path: Path) -> None:
    engine = write_program(tmp_path / "engine", "#!/bin/sh\necho 'permission denied' >&2\nexit 1\n")
    assert "permission denied" not in ctl(tmp_path, "metering", "audit", ENGINE=engine).stderr
    (tmp_path / ".env").touch()
    for command in (["metering", "audit"], ["addresses"]):
        assert ctl(tmp_path, *command, ENGINE=engine).stderr.endswith("compose: permission denied)\n")
