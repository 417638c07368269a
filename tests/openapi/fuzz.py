"""Make requests from the published documents, right ones, wrong ones and sequences, and see what each service says.

    python -m tests.openapi.fuzz                      # a minute, on a stack of its own or the one STACK_JSON names
    python -m tests.openapi.fuzz --seconds 3600

Every check of schemathesis is on; schemathesis.toml has the few exceptions, with reasons. Afterwards the audits of
both databases must find every sum right. It leaves the stack's demo clients with other terms than they had.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_stack.processes import REPOSITORY
from tests.stack.running_stack import RunningStack

APPLICATIONS = (
    ("catalog", "url"),
    ("activity", "url"),
    ("metering", "url"),
    # Last: it may disable clients. That of metering has no calls that are not metering's.
    ("catalog", "admin_url"),
)
"""Each by its service, and by what its address is called in stack.json."""
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def main() -> int:
    """Return 1 when any service or audit has a fault, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for all services together")
    parser.add_argument("--seed", type=int, help="of a run to be repeated")
    arguments = parser.parse_args()
    with open_stack() as stack_file:
        stack = json.loads(stack_file.read_text())
        seconds = max(arguments.seconds // len(APPLICATIONS), 5)
        failed = [
            f"{service} at its {address}"
            for service, address in APPLICATIONS
            if not _fuzz(stack[service][address], stack_file, seconds, arguments.seed)
        ]
        failed += _audit(stack)
    print(f"failed: {', '.join(failed)}" if failed else "no service and no audit has a fault")
    return 1 if failed else 0


@contextmanager
def open_stack() -> Iterator[Path]:
    """Return the file of a running stack: the one STACK_JSON names, or one that runs for so long."""
    if named := os.environ.get("STACK_JSON"):
        yield Path(named)
        return
    with tempfile.TemporaryDirectory() as directory:
        running = RunningStack(Path(directory) / "stack")
        try:
            running.wait_until_ready()
            yield running.stack_file
        finally:
            running.end()


def _fuzz(url: str, stack_file: Path, seconds: int, seed: int | None) -> bool:
    print(f"--- {url}, {seconds} s", flush=True)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", f"{url}/openapi.json", "--no-color"),
        *("--max-time", str(seconds)),
        *(() if seed is None else ("--seed", str(seed))),
    ]
    environment = {**os.environ, "STACK_JSON": str(stack_file), "PYTHONPATH": str(REPOSITORY)}
    with tempfile.TemporaryDirectory() as directory:  # it leaves files where it stands
        return subprocess.run(command, cwd=directory, env=environment, check=False).returncode == 0


def _audit(stack: dict[str, Any]) -> list[str]:
    dsn = stack["postgres"]["dsn"]
    environment = {
        **os.environ,
        "METERING_POSTGRES_DSN": dsn["metering"],
        "METERING_REDIS_URL": stack["redis"]["url"],
        "ACTIVITY_POSTGRES_DSN": dsn["activity"],
        "ACTIVITY_METERING_URL": stack["metering"]["url"],
        "ACTIVITY_METERING_ADMIN_KEY": stack["service_keys"]["admin"],
    }
    failed = []
    for service in ("metering", "activity"):
        print(f"--- audit of {service}", flush=True)
        command = [sys.executable, "-m", f"{service}_service", "audit"]
        if subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode:
            failed.append(f"audit of {service}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
