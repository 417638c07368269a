#!/usr/bin/env python3
"""Run an operator's command on the stack that runs here, of `make run` or of docker compose.

    ./ctl catalog|activity|metering COMMAND...    as `python -m SERVICE_service COMMAND...`, with its settings
    ./ctl addresses                               CATALOG=... and ACTIVITY=... of the public APIs, for a shell
    ./ctl --compose ...                           the one of docker compose, where both run

It looks for a stack of `make run` in STACK_DIR, or .local beside this file, and then for this directory's project of
docker compose (ENGINE=podman for another engine). Files that are named, with a slash or a dot in the name or after an
option that ends in -file, are handed into the container.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent
SERVICES = ("catalog", "activity", "metering")
PUBLIC = SERVICES[:2]
ENGINE = os.environ.get("ENGINE", "docker")
NOTHING_RUNS = "nothing runs here: start it with `make run`, or `make env && docker compose up --build --wait`"


def main(arguments: Sequence[str]) -> None:
    """Find the stack and do what is asked; exit as the command does."""
    is_compose = arguments[:1] == ["--compose"]
    wanted = arguments[1:] if is_compose else arguments
    if not wanted or wanted[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if wanted else 2)
    if wanted[0] not in (*SERVICES, "addresses") or (wanted[0] == "addresses" and len(wanted) > 1):
        fail(f"{' '.join(wanted)!r} is neither a service ({', '.join(SERVICES)}) with a command nor addresses", 2)
    stack = None if is_compose else find_local_stack()
    if wanted[0] == "addresses":
        for name, url in (list_local_addresses(stack) if stack else list_published_addresses()).items():
            print(f"{name.upper()}={url}")
    else:
        command = wanted[1:] or ["--help"]  # without a command a service serves, and here one does already
        run_here(stack, wanted[0], command) if stack else run_in_container(wanted[0], command)


def find_local_stack() -> Mapping[str, Any] | None:
    """Return what `make run` says of itself once all is ready; None where it does not run."""
    named = os.environ.get("STACK_DIR")
    directory = Path(named) if named else ROOT / ".local"
    file = directory / "stack.json"
    try:
        if file.exists() and holds_lock(directory):
            stack: Mapping[str, Any] = json.loads(file.read_text())
            return stack
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read: {error}")
    if named:
        fail(f"no stack runs on STACK_DIR={named}")
    return None


def holds_lock(directory: Path) -> bool:
    """Tell whether a stack holds the lock of its directory: one that was killed leaves stack.json behind.

    Shared, so that commands are not in each other's way, and only for a moment: a stack that starts wants it alone.
    """
    try:
        lock = os.open(directory / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return True  # a copy of stack.json alone: who made it knows
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def list_local_addresses(stack: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the public services' own addresses."""
    return {name: stack[name]["url"] for name in PUBLIC}


def list_published_addresses() -> Mapping[str, str]:
    """Return the address of the one public host, for both. Exit where no proxy runs."""
    asked = compose("port", "proxy", "8080")
    require_container(asked)
    host, _, port = asked.stdout.split()[0].rpartition(":")
    speaks_tls = compose("exec", "-T", "proxy", "printenv", "TLS").stdout.strip() == "yes"
    here = "127.0.0.1" if host in ("0.0.0.0", "[::]", "::") else host
    return dict.fromkeys(PUBLIC, f"{'https' if speaks_tls else 'http'}://{here}:{port}")


def run_here(stack: Mapping[str, Any], service: str, command: Sequence[str]) -> NoReturn:
    """Become the command, with the variables that the running service has."""
    os.environ.update({**stack["variables"][service], "PYTHONPATH": str(ROOT)})
    try:
        os.execv(stack["python"], [stack["python"], "-m", f"{service}_service", *command])
    except OSError as error:
        fail(f"{stack['python']}, which the stack was started with, cannot be run: {error.strerror}")


def run_in_container(service: str, command: Sequence[str]) -> NoReturn:
    """Become the command in a container of its own, which has the service's settings."""
    require_container(compose("ps", "--quiet", service))
    inside, files = find_files(command)
    mounts = [part for file in files for part in ("--volume", f"{file}:{file}:ro,z")]
    os.chdir(ROOT)
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["-T"]
    run = [ENGINE, "compose", "run", "--rm", "--no-deps", "--quiet-pull", *terminal, *mounts]
    os.execvp(ENGINE, [*run, f"{service}-migrate", *inside])


def find_files(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command with this machine's files by their whole names, and these names.

    `acme` is a client's id, also where a file is called so: a file has a slash or a dot in its name, or stands after
    an option for files.
    """
    inside: list[str] = []
    files: list[str] = []
    before = ""
    for argument in command:
        is_option = argument.startswith("-")
        option, equals, value = argument.partition("=") if is_option else (before, "", argument)
        is_named = "/" in value or "." in value or option.endswith("-file")
        if value and is_named and Path(value).is_file():
            files.append(str(Path(value).resolve()))
            inside.append(f"{option}={files[-1]}" if equals else files[-1])
        else:
            inside.append(argument)
        before = argument if is_option else ""
    return inside, files


def require_container(asked: "subprocess.CompletedProcess[str]") -> None:
    """Exit where the engine named none, with its reason where there should be one."""
    if not asked.returncode and asked.stdout.strip():
        return
    said = asked.stderr.strip().splitlines()
    is_ours = asked.returncode and said and (ROOT / ".env").exists()
    fail(f"{NOTHING_RUNS} ({ENGINE} compose: {said[-1]})" if is_ours else NOTHING_RUNS)


def compose(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask the engine about this directory's project. Exit where there is no engine."""
    try:
        return subprocess.run(
            [ENGINE, "compose", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        fail(NOTHING_RUNS)


def fail(why: str, code: int = 1) -> NoReturn:
    """Exit with one line."""
    print(f"ctl: {why}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
