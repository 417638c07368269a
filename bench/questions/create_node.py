"""A metered create through both services beside what people write by hand in Node.js, which has neither a token nor a
second service: in one idempotent statement, and in its usual form, which charges a retry twice."""

from functools import partial
from statistics import median

from bench.creating import Creates, MeteredCreates, PeerCreates
from bench.finding import Finding
from bench.peers.start import fill_usage_database, start_node
from bench.question import Effort, Question
from bench.rounds import Cost, compare, compare_cost, interleave
from bench.stage import Stage, name_clients

CLIENTS = 1000
TARGETS = (0.6, 0.75)
"""Over the first and the second number of connections."""
COSTS: tuple[tuple[str, Cost, float], ...] = (
    ("both services' CPU", "cpu_seconds", 0.7 * 2.25),
    ("the databases' CPU", "database_cpu_seconds", 0.6 * 1.44),
)
"""What a create cost in times of this peer's before its path was rebuilt, and the part of it that is the target."""


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on all three, in turn."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    sides: dict[str, Creates] = {"metered create": ours}
    for form in ("idempotent", "usual"):
        dsn = fill_usage_database(stage, f"node_{form}", name_clients(CLIENTS))
        sides[f"Node.js, {form}"] = PeerCreates(start_node(stage, form, dsn), dsn, CLIENTS)
    for connections, target in zip(effort.connections, TARGETS, strict=False):
        of = f"{connections} connections"
        runs = interleave(
            {
                f"{name}, {of}": stage.measure(finding, each.servers, partial(each.load, connections))
                for name, each in sides.items()
            },
            effort,
        )
        finding.sides |= runs
        own, idempotent, usual = runs.values()
        finding.claims += [
            compare(f"to Node.js, idempotent, {of}", own, idempotent, target),
            compare(f"to Node.js, usual form, {of}", own, usual),
            compare_cost(f"p99 to Node.js, idempotent, {of}", own, idempotent, "p99"),
        ]
        if connections == effort.connections[0]:
            finding.claims += [
                compare_cost(f"{text} a create to Node.js, idempotent, {of}", own, idempotent, cost, round(most, 2))
                for text, cost, most in COSTS
            ]
    for each in sides.values():
        finding.faults += each.check()
    finding.notes += [
        "Both services share the core that the peer's one process has. A run ends when its last create is charged: "
        f"{median(ours.drains):.2f} s after the last request, at most {max(ours.drains):.2f} s.",
        "The usual form charges a retry twice, or has to refuse it; the idempotent one and ours do neither.",
    ]
    return finding


QUESTION = Question("create_node", "Metered create through both services, against Node.js", ask)
