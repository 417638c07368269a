"""A metered create beside the same work in Node.js: two services, tokens, schemas, holds, an outbox, charges behind.

What a strong team writes by hand without sharing statements among requests. It has our tricks besides: tokens from a
cache, ids made from keys, holds that move into the ledger, an outbox whose rows are deleted, settles of up to 500.
"""

from functools import partial
from statistics import median

from bench.creating import MeteredCreates, SameWorkCreates
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, compare_cost, interleave
from bench.stage import Stage

CLIENTS = 1000
TARGET = 2.0
P99_TARGET = 0.4
ALONE_TARGET = 1.4


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, in turn, over many connections and over one."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    peer = SameWorkCreates(stage, ours)
    for connections in (*effort.connections, 1):
        of = f"{connections} connection{'s' * (connections > 1)}"
        runs = interleave(
            {
                f"metered create, {of}": stage.measure(finding, ours.servers, partial(ours.load, connections)),
                f"the same work in Node.js, {of}": stage.measure(
                    finding, peer.servers, partial(peer.load, connections)
                ),
            },
            effort,
        )
        finding.sides |= runs
        own, other = runs.values()
        if connections == 1:
            finding.claims.append(compare_cost(f"p50 to the same work, {of}", own, other, "p50", ALONE_TARGET))
            continue
        p99_target = P99_TARGET if connections == effort.connections[0] else None
        finding.claims += [
            compare(f"to the same work, {of}", own, other, TARGET),
            compare_cost(f"p99 to the same work, {of}", own, other, "p99", p99_target),
            compare_cost(f"CPU of both services a create to the same work, {of}", own, other, "cpu_seconds"),
            compare_cost(f"CPU of the databases a create to the same work, {of}", own, other, "database_cpu_seconds"),
        ]
    finding.faults += ours.check() + peer.check()
    finding.notes.append(
        "Both services of either side share one core; a run ends when its last create is charged, of ours "
        f"{median(ours.drains):.2f} s after the last request."
    )
    return finding


QUESTION = Question("create_same_work", "Metered create, against the same work by hand in Node.js", ask)
