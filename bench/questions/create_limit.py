"""How far is a metered create from what aiohttp leaves room for? Beside a bare handler with the same calls and
statements, on a metering service of its own."""

import sys
from functools import partial

from bench.creating import MeteredCreates
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, compare_cost, interleave
from bench.stage import Stage

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 0.9
CPU_TARGET = 1.2


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, in turn; processor time is of the activity service alone, and of the handler."""
    finding = Finding()
    sides = {
        "metered create": MeteredCreates(stage, CLIENTS),
        "bare handler": MeteredCreates(stage, CLIENTS, activity=[sys.executable, "-m", "bench.peers.bare_activity"]),
    }
    finding.sides = interleave(
        {
            name: stage.measure(finding, [each.product.servers["activity"]], partial(each.load, CONNECTIONS))
            for name, each in sides.items()
        },
        effort,
    )
    own, bare = finding.sides.values()
    finding.claims += [
        compare("to the bare handler", own, bare, TARGET),
        compare_cost(
            "the activity service's CPU a create to the bare handler's", own, bare, "cpu_seconds", CPU_TARGET
        ),
    ]
    for each in sides.values():
        finding.faults += each.check()
    finding.notes.append("CPU is of the activity service alone, and of the handler in its place.")
    return finding


QUESTION = Question(
    "create_limit", "Metered create, against a bare aiohttp handler with the same calls and statements", ask
)
