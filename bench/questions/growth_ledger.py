"""Does a decision cost more once millions were taken before it, or the more clients there are?"""

from functools import partial

from bench.authorizing import Authorizations
from bench.bulk import make_accounts, make_charges
from bench.finding import Curve, Finding, Plot
from bench.question import Effort, Question
from bench.rounds import Measure, compare, interleave
from bench.stage import Stage

SIZES = (0, 1_000_000, 10_000_000)
QUICK_SIZES = (0, 100_000)
ALL_CLIENTS = 100_000
CLIENTS = (1, 100, 1000, 10_000, ALL_CLIENTS)
USUAL_CLIENTS = 1000
CONNECTIONS = 64
TARGET = 0.95


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize on ledgers of each size, in turn, then for each number of clients on the empty one."""
    finding, sizes = Finding(), QUICK_SIZES if effort.is_quick else SIZES
    ledgers = {size: Authorizations(stage, 0) for size in sizes}
    for size, ledger in ledgers.items():
        make_accounts(ledger.product, ALL_CLIENTS)
        if size:
            make_charges(ledger.product, size, clients=ALL_CLIENTS)

    def side(size: int, clients: int) -> Measure:
        ledger = ledgers[size]
        return stage.measure(finding, ledger.servers, partial(ledger.load, CONNECTIONS, clients=clients))

    runs = interleave({f"{size:,} ledger lines": side(size, USUAL_CLIENTS) for size in sizes}, effort)
    finding.sides |= runs
    empty, *grown = runs.values()
    ratios = [1.0]
    for size, measured in zip(sizes[1:], grown, strict=True):
        claim = compare(f"{size:,} ledger lines to none", measured, empty, TARGET if size == SIZES[-1] else None)
        finding.claims.append(claim)
        ratios.append(claim.median)
    curves = [Curve(f"ledger lines, to none; {USUAL_CLIENTS:,} clients", sizes, ratios)]

    runs = interleave({f"{clients:,} clients": side(0, clients) for clients in CLIENTS}, effort)
    finding.sides |= runs
    one, *more = runs.values()
    ratios = [1.0]
    for clients, measured in zip(CLIENTS[1:], more, strict=True):
        target = TARGET if clients == ALL_CLIENTS else None
        finding.claims.append(compare(f"{clients:,} clients to one", measured, one, target))
        ratios.append(finding.claims[-1].median)
    curves.append(Curve("clients, to one; no ledger lines", CLIENTS, ratios))
    finding.plot = Plot("ledger lines, or clients", "decisions a second, as a ratio", curves, log_x=True)
    for ledger in ledgers.values():
        finding.faults += ledger.check()
    return finding


QUESTION = Question(
    "growth_ledger",
    "Decisions a second, the longer the ledger and the more the clients",
    ask,
    in_quick=False,
    in_full=False,
)
"""Asked by name (`make bench-growth`): the rows alone take a while to make."""
