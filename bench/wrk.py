"""Closed-loop load by wrk: each of so many connections sends the next request when the one before is answered."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cores import LOAD_CORE, on_core
from bench.errors import BenchError

LUA = Path(__file__).parent / "lua"
RESULT_MARK = "RESULT "
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of load saw. Latencies in seconds."""

    requests: int
    seconds: float
    refused: int
    """Return of status 400 and above."""
    broken: int
    """Connections that failed, answers that did not come."""
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Return a second."""
        return self.requests / self.seconds


def find_wrk() -> str:
    """Return wrk's path. Raises BenchError when it is not installed."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk is not installed: apt-get install wrk, or the like")
    return found


def run_wrk(
    url: str, script: str, *, seconds: int, connections: int, parameters: Mapping[str, object] | None = None
) -> Load:
    """Send requests that `lua/SCRIPT.lua` makes for so many whole seconds. Raises BenchError when wrk fails.

    One thread, as there is one core for it; `parameters` reach the script as its `parameters` table.
    """
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(LUA / f"{script}.lua"), url, "--"]
    command += [f"{name}={value}" for name, value in (parameters or {}).items()]
    with on_core(LOAD_CORE):
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=LUA, timeout=seconds + GRACE_SECONDS, check=False
        )
    if done.returncode != 0:
        raise BenchError(f"wrk failed on {url}: {done.stderr.strip() or done.stdout.strip()}")
    return read_result(done.stdout)


def read_result(output: str) -> Load:
    """Read the line that `lua/frame.lua` prints at the end.

    Raises BenchError when there is none, and when nothing was answered, which has no rate and no latency.
    """
    line = next((line for line in output.splitlines() if line.startswith(RESULT_MARK)), None)
    if line is None:
        raise BenchError(f"wrk printed no result: {output.strip()}")
    found = json.loads(line.removeprefix(RESULT_MARK))
    if not found["requests"]:
        raise BenchError("wrk saw not one answer: longer runs, --seconds, may bring some")
    return Load(
        requests=found["requests"],
        seconds=found["microseconds"] / 1e6,
        refused=found["status_errors"],
        broken=found["connect_errors"] + found["read_errors"] + found["write_errors"] + found["timeouts"],
        p50=found["p50_microseconds"] / 1e6,
        p99=found["p99_microseconds"] / 1e6,
    )
