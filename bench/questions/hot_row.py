"""What does gathering decisions gain? One hot client beside the equivalent transaction on one hot row, by pgbench."""

from functools import partial

from bench.authorizing import Authorizations
from bench.finding import Finding
from bench.peers.start import HERE, check_usage_database, fill_usage_database
from bench.pgbench import run_pgbench
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage, name_clients
from bench.wrk import Load

CLIENTS = 1000
CONNECTIONS = 64
BEST_CONNECTIONS, BEST_SPREAD_CONNECTIONS = 2, 16
"""Of 2, 4, 8, 16, 20, 32 and 64, what pgbench does most transactions with; on a hot row more only stand in line."""
TARGET = 8.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize for one client, and debit one row; and random rows beside it, as another limit."""
    finding = Finding()
    metering = Authorizations(stage, 1)
    dsn = fill_usage_database(stage, "pgbench", name_clients(CLIENTS))

    def debit(clients: int, connections: int, seconds: int) -> Load:
        script = HERE / "debit.pgbench"
        return run_pgbench(dsn, script, seconds=seconds, connections=connections, clients=clients)

    finding.sides = interleave(
        {
            "one hot client": stage.measure(finding, metering.servers, partial(metering.load, CONNECTIONS)),
            "pgbench, one hot row, 64 connections": stage.measure(finding, [], partial(debit, 1, CONNECTIONS)),
            "pgbench, one hot row, 2 connections": stage.measure(finding, [], partial(debit, 1, BEST_CONNECTIONS)),
            "pgbench, 1,000 rows, 16 connections": stage.measure(
                finding, [], partial(debit, CLIENTS, BEST_SPREAD_CONNECTIONS)
            ),
        },
        effort,
    )
    ours, hot, best, spread = finding.sides.values()
    finding.claims += [
        compare("to pgbench on one hot row, 64 connections each", ours, hot, TARGET),
        compare("to pgbench on one hot row, with 2 connections, its best", ours, best),
        compare("to pgbench on 1,000 random rows, with 16 connections, its best", ours, spread),
    ]
    finding.notes.append("pgbench runs on the core that the service has; its own processor time is not counted.")
    finding.faults += metering.check() + check_usage_database(dsn)
    return finding


QUESTION = Question("hot_row", "Authorize for one hot client, against pgbench on one hot row", ask)
