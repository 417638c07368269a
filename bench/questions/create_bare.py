"""What does billing cost? A metered create beside the same service's create without metering and database."""

import sys
from functools import partial

from bench.creating import MeteredCreates
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage, fresh_seed
from bench.wrk import Load, run_wrk
from local_stack.ports import choose_free_block
from local_stack.topology import HEALTH_PATH

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 0.45


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, with the same tokens."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    port = choose_free_block(2)
    environment = ours.product.environments["activity"].variables
    bare = stage.start(
        "activity-in-memory",
        [sys.executable, "-m", "bench.peers.activity_in_memory"],
        url=f"http://127.0.0.1:{port}",
        environment={**environment, "ACTIVITY_PORT": str(port), "ACTIVITY_OPS_PORT": str(port + 1)},
        ready_url=f"http://127.0.0.1:{port + 1}{HEALTH_PATH}",
    )

    def create_bare(seconds: int) -> Load:
        parameters = {"tokens": ours.token_file, "clients": CLIENTS, "seed": fresh_seed()}
        return run_wrk(bare.url, "create", seconds=seconds, connections=CONNECTIONS, parameters=parameters)

    finding.sides = interleave(
        {
            "metered create": stage.measure(finding, ours.servers, partial(ours.load, CONNECTIONS)),
            "without metering and database": stage.measure(finding, [bare], create_bare),
        },
        effort,
    )
    metered, unmetered = finding.sides.values()
    finding.claims.append(compare("metered to unmetered", metered, unmetered, TARGET))
    finding.faults += ours.check()
    return finding


QUESTION = Question("create_bare", "Metered create, against the same service without metering and database", ask)
