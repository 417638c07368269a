"""What does gathering decisions gain? One hot client beside the equivalent transaction on one hot row, by pgbench."""

from functools import partial

from bench.authorizing import Authorizations
from bench.peers.start import HERE, check_usage_database, fill_usage_database
from bench.pgbench import run_pgbench
from bench.question import Effort, Finding, Question
from bench.rounds import compare, interleave
from bench.stage import Stage, name_clients
from bench.wrk import Load

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 8.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize for one client, and debit one row; and random rows beside it, as another limit."""
    finding = Finding()
    metering = Authorizations(stage, 1)
    dsn = fill_usage_database(stage, "pgbench", name_clients(CLIENTS))

    def debit(clients: int, seconds: int) -> Load:
        script = HERE / "debit.pgbench"
        return run_pgbench(dsn, script, seconds=seconds, connections=CONNECTIONS, clients=clients)

    finding.sides = interleave(
        {
            "one hot client": stage.measure(finding, metering.servers, partial(metering.load, CONNECTIONS)),
            "pgbench, one hot row": stage.measure(finding, [], partial(debit, 1)),
            "pgbench, 1,000 rows": stage.measure(finding, [], partial(debit, CLIENTS)),
        },
        effort,
    )
    ours, hot, spread = finding.sides.values()
    finding.claims += [
        compare("to pgbench on one hot row", ours, hot, TARGET),
        compare("to pgbench on 1,000 random rows", ours, spread),
    ]
    finding.notes.append("pgbench runs on the core that the service has; its own processor time is not counted.")
    finding.faults += metering.check() + check_usage_database(dsn)
    return finding


QUESTION = Question("hot_row", "Authorize for one hot client, against pgbench on one hot row", ask)
