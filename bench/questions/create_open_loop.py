"""What does a caller wait for a metered create at half and at four fifths of what is possible, waiting included?"""

from functools import partial

from bench.creating import Creates, MeteredCreates, PeerCreates, SameWorkCreates
from bench.finding import Finding
from bench.peers.start import fill_usage_database, start_node
from bench.question import Effort, Question
from bench.rounds import compare_cost, interleave
from bench.stage import Stage, name_clients

CLIENTS = 1000
CONNECTIONS = 64
SHARES = (0.5, 0.8)
P50_TARGET = 1.2


def ask(stage: Stage, effort: Effort) -> Finding:
    """Find what each can do, then send each a share of that."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    dsn = fill_usage_database(stage, "node_idempotent", name_clients(CLIENTS))
    sides: dict[str, Creates] = {
        "metered create": ours,
        "the same work in Node.js": SameWorkCreates(stage, ours),
        "Node.js, idempotent": PeerCreates(start_node(stage, "idempotent", dsn), dsn, CLIENTS),
    }
    for each in sides.values():
        each.load(CONNECTIONS, effort.warm_up_seconds)
    # The better of two: a peer is slow for a while once its tables are analyzed, and a share of that is no load.
    rates = {
        name: max(each.load(CONNECTIONS, effort.run_seconds).rate for _ in range(2)) for name, each in sides.items()
    }
    for share in SHARES:
        of = f"at {share:.0%} of its capacity"
        runs = interleave(
            {
                f"{name} {of}": stage.measure(finding, each.servers, partial(each.load_at, share * rates[name]))
                for name, each in sides.items()
            },
            effort,
        )
        finding.sides |= runs
        own, same, idempotent = runs.values()
        target = P50_TARGET if share == SHARES[0] else None
        finding.claims += [
            compare_cost(f"p50 to the same work, each {of}", own, same, "p50", target),
            compare_cost(f"p99 to the same work, each {of}", own, same, "p99"),
            compare_cost(f"p50 to Node.js, idempotent, each {of}", own, idempotent, "p50"),
            compare_cost(f"p99 to Node.js, idempotent, each {of}", own, idempotent, "p99"),
        ]
    capacities = ", ".join(f"{name} {rate:,.0f} a second" for name, rate in rates.items())
    finding.notes.append(
        f"Capacity, by wrk before: {capacities}. "
        "Latency counts from when a request was to be sent. Clients take turns."
    )
    for each in sides.values():
        finding.faults += each.check()
    return finding


QUESTION = Question("create_open_loop", "Metered create at a constant rate, against Node.js", ask)
