"""What does a durable decision cost above the same service's no-op route? One event a request, 1,000 zipf clients."""

import sys
from functools import partial

from bench.authorizing import Authorizations
from bench.finding import Finding
from bench.peers.metering_with_noop import PATH
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage
from bench.wrk import Load, run_wrk

CLIENTS = 1000
TARGET = 0.85


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize beside the no-op, with 64 and with 256 connections."""
    finding = Finding()
    metering = Authorizations(stage, CLIENTS, [sys.executable, "-m", "bench.peers.metering_with_noop"])
    url, key = metering.product.url("metering"), metering.product.events_key

    def post_nothing(connections: int, seconds: int) -> Load:
        return metering.send(connections, seconds, path=PATH)

    def get_nothing(connections: int, seconds: int) -> Load:
        return run_wrk(url, "get", seconds=seconds, connections=connections, parameters={"key": key, "path": PATH})

    for connections in effort.connections:
        loads = {"authorize": metering.load, "no-op POST": post_nothing, "no-op GET": get_nothing}
        sides = {
            f"{name}, {connections} connections": stage.measure(finding, metering.servers, partial(load, connections))
            for name, load in loads.items()
        }
        runs = interleave(sides, effort)
        finding.sides |= runs
        ours, post, get = runs.values()
        target = TARGET if connections == effort.connections[0] else None
        finding.claims.append(compare(f"to the no-op POST, {connections} connections", ours, post, target))
        finding.claims.append(compare(f"to a no-op GET, {connections} connections", ours, get))
    finding.faults += metering.check()
    return finding


QUESTION = Question("authorize_one", "Authorize, one event a request, against the service's own no-op route", ask)
