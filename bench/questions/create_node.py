"""A metered create through both services beside what people write by hand in Node.js, which has neither a token nor a
second service: in one idempotent statement, and in its usual form, which charges a retry twice."""

from functools import partial
from statistics import median

from bench.creating import MeteredCreates, PeerCreates
from bench.finding import Finding
from bench.peers.start import fill_usage_database, start_node
from bench.question import Effort, Question
from bench.rounds import compare, compare_p99, interleave
from bench.stage import Stage, name_clients

CLIENTS = 1000
TARGET = 2.0
P99_TARGET = 0.5


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on all three, in turn."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    peers = {}
    for form in ("idempotent", "usual"):
        dsn = fill_usage_database(stage, f"node_{form}", name_clients(CLIENTS))
        peers[form] = PeerCreates(start_node(stage, form, dsn), dsn, CLIENTS)
    for connections in effort.connections:
        sides = {
            f"metered create, {connections} connections": stage.measure(
                finding, ours.servers, partial(ours.load, connections)
            )
        }
        for form, peer in peers.items():
            sides[f"Node.js, {form}, {connections} connections"] = stage.measure(
                finding, [peer.server], partial(peer.load, connections)
            )
        runs = interleave(sides, effort)
        finding.sides |= runs
        own, idempotent, usual = runs.values()
        is_first = connections == effort.connections[0]
        suffix = f"{connections} connections"
        finding.claims += [
            compare(f"to Node.js, idempotent, {suffix}", own, idempotent, TARGET if is_first else None),
            compare(f"to Node.js, usual form, {suffix}", own, usual),
            compare_p99(f"p99 to Node.js, idempotent, {suffix}", own, idempotent, P99_TARGET if is_first else None),
        ]
    finding.faults += ours.check()
    for peer in peers.values():
        finding.faults += peer.check()
    finding.notes += [
        "Both services share the core that the peer's one process has. A run ends when its last create is charged: "
        f"{median(ours.drains):.2f} s after the last request, at most {max(ours.drains):.2f} s.",
        "The usual form charges a retry twice, or has to refuse it; the idempotent one and ours do neither.",
    ]
    return finding


QUESTION = Question("create_node", "Metered create through both services, against Node.js", ask)
