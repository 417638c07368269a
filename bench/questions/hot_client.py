"""Does one hot client stand in its own way? All authorizations of one client beside those of 1,000, zipf."""

from functools import partial

from bench.authorizing import Authorizations
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 1.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize for one, and for a thousand."""
    finding = Finding()
    metering = Authorizations(stage, CLIENTS)
    finding.sides = interleave(
        {
            name: stage.measure(finding, metering.servers, partial(metering.load, CONNECTIONS, clients=clients))
            for name, clients in (("one hot client", 1), ("1,000 clients, zipf", CLIENTS))
        },
        effort,
    )
    hot, spread = finding.sides.values()
    finding.claims.append(compare("one hot client to 1,000", hot, spread, TARGET))
    finding.faults += metering.check()
    return finding


QUESTION = Question("hot_client", "Authorize for one hot client, against 1,000 zipf clients", ask)
