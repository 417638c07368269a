"""A metered create through both services beside gringotts-api: exact and idempotent credits in FastAPI."""

import os
import subprocess
from functools import partial
from pathlib import Path

from bench.creating import MeteredCreates
from bench.errors import BenchError
from bench.finding import Finding
from bench.peers.start import PEERS_PYTHON, start_uvicorn
from bench.question import Effort, Question
from bench.rounds import compare, compare_cost, interleave
from bench.stage import Stage, fresh_seed, name_clients
from bench.tally import Tally, count_rows
from bench.wrk import Load, run_wrk
from local_stack.processes import REPOSITORY

CLIENTS = 1000
CONNECTIONS = 64


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, in turn. Nothing is promised: it has no rates, no play and no second service."""
    finding, tally = Finding(), Tally()
    ours = MeteredCreates(stage, CLIENTS)
    dsn = stage.create_database("gringotts")
    environment = {"DATABASE_URL": dsn.replace("postgresql://", "postgresql+psycopg://")}
    keys = run_peer([PEERS_PYTHON, "-m", "bench.peers.gringotts_users", *name_clients(CLIENTS)], environment)
    file = stage.directory / "keys"
    file.write_text("\n".join(line.removeprefix("KEY ") for line in keys.splitlines() if line.startswith("KEY ")))
    peer = start_uvicorn(stage, "fastapi_gringotts", environment)

    def charge(seconds: int) -> Load:
        parameters = {"keys": file, "clients": CLIENTS, "seed": fresh_seed()}
        load = run_wrk(peer.url, "create", seconds=seconds, connections=CONNECTIONS, parameters=parameters)
        return tally.count(load, CONNECTIONS)

    finding.sides = interleave(
        {
            "metered create": stage.measure(finding, ours.servers, partial(ours.load, CONNECTIONS)),
            "gringotts-api": stage.measure(finding, [peer], charge),
        },
        effort,
    )
    own, theirs = finding.sides.values()
    finding.claims += [
        compare("to gringotts-api", own, theirs),
        compare_cost("p99 to gringotts-api's", own, theirs, "p99"),
    ]
    run_peer([PEERS_PYTHON.with_name("gringotts"), "reconcile"], environment)
    charged = count_rows(dsn, "SELECT count(*) FROM credit_transactions WHERE kind = 'charge'")
    finding.faults += ours.check() + tally.check(charged, "charges of gringotts")
    return finding


def run_peer(command: list[str | Path], environment: dict[str, str]) -> str:
    """Run one of its commands and answer what it prints. Raises BenchError when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


QUESTION = Question(
    "create_gringotts", "Metered create through both services, against gringotts-api", ask, in_quick=False
)
