"""What does a second process bring? A metered create by two workers of each service, beside one of each."""

from functools import partial

from bench.cores import CORES, on_all_cores
from bench.creating import MeteredCreates
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage

CLIENTS = 1000
WORKERS = (1, 2)


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, free to use every core: services that are held on one have nothing to share out."""
    finding = Finding()
    services = {count: MeteredCreates(stage, CLIENTS, workers=count) for count in WORKERS}
    for each in services.values():
        on_all_cores(*[server.pid for server in each.servers])
    for connections in effort.connections:
        runs = interleave(
            {
                f"{count} of each, {connections} connections": stage.measure(
                    finding, each.servers, partial(each.load, connections)
                )
                for count, each in services.items()
            },
            effort,
        )
        finding.sides |= runs
        one, two = runs.values()
        finding.claims.append(compare(f"two of each to one, {connections} connections", two, one))
    for each in services.values():
        finding.faults += each.check()
    finding.notes.append(
        f"Services, load and databases share {len(CORES)} cores: two of each can gain only what load and databases "
        "leave. The databases' own cost a create says whether smaller batches cost them more."
    )
    return finding


QUESTION = Question(
    "create_workers", "Metered create by two processes of each service, against one", ask, in_full=False
)
