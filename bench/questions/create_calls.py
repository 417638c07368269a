"""How many functions does the activity service call for a create? Counted under 64 connections, by a profiler.

A count does not depend on what else the machine does, and comes before any time that is saved.
"""

import sys

from bench.creating import MeteredCreates
from bench.finding import Claim, Finding
from bench.peers.activity_counted import PATH
from bench.product import send
from bench.question import Effort, Question
from bench.stage import Stage

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 330.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create under the profiler, round by round."""
    finding = Finding()
    command = [sys.executable, "-m", "bench.peers.activity_counted"]
    creates = MeteredCreates(stage, CLIENTS, activity=command)
    url = creates.product.url("activity") + PATH
    counted: dict[str, list[float]] = {"all": [], "python": []}
    creates.load(CONNECTIONS, effort.warm_up_seconds)
    for _ in range(effort.rounds):
        before, plays_before = send("GET", url), creates.count_plays()
        creates.load(CONNECTIONS, effort.run_seconds)
        after, plays = send("GET", url), creates.count_plays() - plays_before
        for kind, each in counted.items():
            each.append((after[kind] - before[kind]) / plays)
    finding.claims += [
        Claim("function calls a create", counted["all"], TARGET, at_most=True),
        Claim("those of Python functions among them", counted["python"], at_most=True),
    ]
    finding.notes.append(
        "Of the activity service alone, as cProfile counts: built-in ones too, and a coroutine each time it goes on."
    )
    finding.faults += creates.check()
    return finding


QUESTION = Question("create_calls", "Functions that the activity service calls for a metered create", ask)
