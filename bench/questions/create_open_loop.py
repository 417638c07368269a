"""What does a caller wait for a metered create at half and at four fifths of what is possible, waiting included?"""

from functools import partial

from bench.creating import MeteredCreates, PeerCreates
from bench.finding import Finding
from bench.open_loop import Plan, run_open_loop
from bench.peers.start import fill_usage_database, start_node
from bench.question import Effort, Question
from bench.rounds import compare_p99, interleave
from bench.stage import Stage, name_clients
from bench.wrk import Load

CLIENTS = 1000
CONNECTIONS = 64
SHARES = (0.5, 0.8)


def ask(stage: Stage, effort: Effort) -> Finding:
    """Find what both can do, then send both the same: a share of what the weaker one can."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    dsn = fill_usage_database(stage, "node_idempotent", name_clients(CLIENTS))
    peer = PeerCreates(start_node(stage, "idempotent", dsn), dsn, CLIENTS)
    for side in (ours, peer):
        side.load(CONNECTIONS, effort.warm_up_seconds)
    own_rate = ours.load(CONNECTIONS, effort.run_seconds).rate
    peer_rate = peer.load(CONNECTIONS, effort.run_seconds).rate

    def create(rate: float, seconds: int) -> Load:
        headers = [f"Authorization: Bearer {token}" for token in ours.tokens]
        load = run_open_loop(Plan(int(ours.product.environments["activity"].port), rate, seconds, headers))
        ours.tally.count(load, load.broken)
        ours.drain()
        return load

    def create_at_peer(rate: float, seconds: int) -> Load:
        headers = [f"X-Client-Id: {client}" for client in name_clients(CLIENTS)]
        load = run_open_loop(Plan(int(peer.server.url.rpartition(":")[2]), rate, seconds, headers))
        return peer.tally.count(load, load.broken)

    for share in SHARES:
        own, same = share * own_rate, share * min(own_rate, peer_rate)
        sides = {
            f"metered create at {share:.0%} of its capacity": stage.measure(
                finding, ours.servers, partial(create, own)
            ),
            f"Node.js, idempotent, at {share:.0%} of its capacity": stage.measure(
                finding, [peer.server], partial(create_at_peer, share * peer_rate)
            ),
        }
        if own != same:
            sides[f"metered create at {same:,.0f} a second"] = stage.measure(
                finding, ours.servers, partial(create, same)
            )
        else:
            sides[f"Node.js, idempotent, at {same:,.0f} a second"] = stage.measure(
                finding, [peer.server], partial(create_at_peer, same)
            )
        found = interleave(sides, effort)
        finding.sides |= found
        own_runs, peer_runs, third = found.values()
        text = f"p99 to Node.js, each at {share:.0%} of its own capacity"
        finding.claims.append(compare_p99(text, own_runs, peer_runs))
        pair = (third, peer_runs) if own != same else (own_runs, third)
        finding.claims.append(compare_p99(f"p99 to Node.js, both at {same:,.0f} a second", *pair))
    finding.notes.append(
        f"Capacity, by wrk before: metered create {own_rate:,.0f} a second, Node.js {peer_rate:,.0f}. "
        "Latency counts from when a request was to be sent. Clients take turns."
    )
    finding.faults += ours.check() + peer.check()
    return finding


QUESTION = Question("create_open_loop", "Metered create at a constant rate, against Node.js", ask)
