"""How fast is a backlog of plays charged that piled up while metering was away, and is its last part slower?"""

import time
from itertools import pairwise

import psycopg

from bench.bulk import make_accounts, make_holds, make_plays
from bench.cores import cpu_seconds
from bench.creating import COUNT_UNSETTLED
from bench.errors import BenchError
from bench.finding import Claim, Curve, Finding, Plot, Run
from bench.question import Effort, Question
from bench.stage import Stage

EVENTS = 100_000
QUICK_EVENTS = 10_000
CLIENTS = 1000
PARTS = 5
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 180.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Have the relay of one process find so many events at once, and see it charge them."""
    finding, count = Finding(), QUICK_EVENTS if effort.is_quick else EVENTS
    product = stage.start_product("catalog", "metering", "activity")
    make_accounts(product, CLIENTS)
    make_holds(product, count, clients=CLIENTS)
    make_plays(product, count, clients=CLIENTS, settled=False)
    servers = [product.servers["activity"].pid, product.servers["metering"].pid]
    moments, left = [(0.0, count)], count
    begun, cpu, database_cpu = time.monotonic(), cpu_seconds(*servers), stage.database_cpu_seconds()
    with psycopg.connect(product.environments["activity"].dsn, autocommit=True) as connection:
        while left:
            time.sleep(POLL_SECONDS)
            row = connection.execute(COUNT_UNSETTLED).fetchone()
            left = int(row[0]) if row else 0
            moments.append((time.monotonic() - begun, left))
            if moments[-1][0] > TIMEOUT_SECONDS:
                raise BenchError(f"{left:,} of {count:,} events were left after {TIMEOUT_SECONDS:g} s")
    seconds = moments[-1][0]
    used, database_used = cpu_seconds(*servers) - cpu, stage.database_cpu_seconds() - database_cpu
    finding.sides["both services"] = [Run(count / seconds, used / count, database_used / count, 0.0, 0.0)]
    reached = [_find_moment(moments, count - count * part // PARTS) for part in range(PARTS + 1)]
    first, last = reached[1] - reached[0], reached[-1] - reached[-2]
    finding.claims.append(Claim(f"rate of the last {count // PARTS:,} to the first", [first / last]))
    finding.notes.append(f"{count:,} events were charged in {seconds:.1f} s: {count / seconds:,.0f} a second.")
    xs, ys = zip(*moments, strict=True)
    finding.plot = Plot("seconds", "events not charged yet", [Curve("backlog", xs, ys)])
    finding.faults += product.audit("metering", "activity")
    return finding


def _find_moment(moments: list[tuple[float, int]], wanted: int) -> float:
    """Return when no more than `wanted` were left, between two looks as if on a straight line."""
    for (before, more), (after, fewer) in pairwise(moments):
        if fewer <= wanted:
            return before + (after - before) * (more - wanted) / max(more - fewer, 1)
    return moments[-1][0]


QUESTION = Question(
    "growth_relay", "A backlog of 100,000 events, charged by one relay", ask, in_quick=False, in_full=False
)
"""Asked by name (`make bench-growth`): the rows alone take a while to make."""
