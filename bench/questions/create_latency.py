"""How long does one metered create take when nobody else is there, beside what it cannot do without?

Two durable commits, one after the other (the hold, then the play), and four round trips: client and activity,
activity and metering, each of the two and its database. Both are timed on the same disk and cores, in every round.
"""

from functools import partial

from bench.creating import MeteredCreates
from bench.finding import Claim, Finding
from bench.machine import time_fsync, time_round_trip
from bench.question import Effort, Question
from bench.stage import Stage

CLIENTS = 10
TARGET = 1.5
FSYNCS = 2
ROUND_TRIPS = 4


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on one connection, and time the disk and the loopback before and after."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    echo = stage.start_peer("echo")
    port = int(echo.url.rpartition(":")[2])
    create = stage.measure(finding, ours.servers, partial(ours.load, 1))
    create(effort.warm_up_seconds)
    runs, least, ratios = [], [], []
    for _ in range(effort.rounds):
        before = least_seconds(stage, port)
        runs.append(create(effort.run_seconds))
        least.append((before + least_seconds(stage, port)) / 2)
        ratios.append(runs[-1].p50 / least[-1])
    finding.sides = {"metered create, 1 connection": runs}
    finding.claims.append(
        Claim(f"p50 to {FSYNCS} fsyncs and {ROUND_TRIPS} round trips", ratios, TARGET, at_most=True)
    )
    times = ", ".join(f"{seconds * 1e6:,.0f}" for seconds in least)
    finding.notes.append(f"Two fsyncs and four round trips took {times} us, round by round.")
    finding.faults += ours.check()
    return finding


def least_seconds(stage: Stage, port: int) -> float:
    """Return what the machine needs for it now."""
    return FSYNCS * time_fsync(stage.directory) + ROUND_TRIPS * time_round_trip(port)


QUESTION = Question("create_latency", "An unloaded metered create, against two fsyncs and four round trips", ask)
