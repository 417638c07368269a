"""Run a service with the campaign's hands inside: `python -m tests.faults.service_process activity serve`.

`llm` is the example of the guide, docs/examples/llm_service.py.

The only way to a fail point, a shifted clock or a seeded bug. FAULTS_CONTROL names the directory that arms them.
"""

import importlib
import os
import runpy
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local_stack.processes import REPOSITORY
from tests.faults import fail_points, seeded_bugs

CLOCK_REREAD_SECONDS = 0.1
SECOND_PRODUCT = "llm"


class ShiftedClock:
    """The system's clock, off by the seconds that files say, all together; no file is no shift."""

    def __init__(self, *files: Path) -> None:
        self._files = files
        self._shift = timedelta()
        self._read_at = 0.0

    def __call__(self) -> datetime:
        if time.monotonic() - self._read_at > CLOCK_REREAD_SECONDS:
            self._read_at = time.monotonic()
            self._shift = timedelta(seconds=sum(_read_seconds(file) for file in self._files))
        return datetime.now(UTC) + self._shift


def _read_seconds(file: Path) -> float:
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return 0.0


def main() -> None:
    """Put the hands in and run the service's own command line."""
    service, *arguments = sys.argv[1:]
    control = Path(os.environ["FAULTS_CONTROL"])
    if service in ("activity", "metering"):
        create_app = importlib.import_module(f"{service}_service.app").create_app
        shift, ahead = control / f"clock-{os.environ['FAULTS_PROCESS']}", Path(os.environ["FAULTS_AHEAD"])
        create_app.__kwdefaults__["clock"] = ShiftedClock(shift, ahead)
        fail_points.install(service, control)
    if service == SECOND_PRODUCT:
        fail_points.install(service, control)
        runpy.run_path(str(REPOSITORY / "docs" / "examples" / "llm_service.py"), run_name="__main__")
        return
    seeded_bugs.install(os.environ.get("FAULTS_BUG", ""), service)
    sys.argv = [f"{service}_service", *arguments]
    runpy.run_module(f"{service}_service", run_name="__main__")


if __name__ == "__main__":
    main()
