"""What does the first page of a client's plays cost, among a thousand plays of that client and among a million?"""

from functools import partial

from bench.bulk import make_plays
from bench.creating import issue_tokens
from bench.finding import Curve, Finding, Plot
from bench.product import Product, send
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage
from bench.wrk import Load, run_wrk

SIZES = (1_000, 10_000, 100_000, 1_000_000)
CLIENT = "client-1"
LIMIT = 50
PATH = f"/api/plan-plays?limit={LIMIT}"
CONNECTIONS = 64
TARGET = 0.9


def ask(stage: Stage, effort: Effort) -> Finding:
    """Read the first page of each of the lists, in turn; each is a product of its own."""
    finding = Finding()
    sides = {}
    sizes = SIZES[:-1] if effort.is_quick else SIZES
    for size in sizes:
        product = stage.start_product("catalog", "activity")
        make_plays(product, size, clients=1)
        [token] = issue_tokens(product, [CLIENT])
        finding.faults += _check(product, token, size)
        load = partial(_load, product.url("activity"), token)
        sides[f"{size:,} plays"] = stage.measure(finding, [product.servers["activity"]], load)
    runs = interleave(sides, effort)
    finding.sides |= runs
    smallest, *larger = runs.items()
    for name, measured in larger:
        target = TARGET if name == f"{SIZES[-1]:,} plays" else None
        finding.claims.append(compare(f"{name} to {smallest[0]}", measured, smallest[1], target))
    ratios = [1.0, *(claim.median for claim in finding.claims)]
    finding.plot = Plot(
        "plays of the client", f"as a ratio to {SIZES[0]:,}", [Curve("pages a second", sizes, ratios)], log_x=True
    )
    finding.notes.append(f"A page has {LIMIT} plays. Medians over {CONNECTIONS} connections.")
    return finding


def _load(url: str, token: str, seconds: int) -> Load:
    return run_wrk(url, "get", seconds=seconds, connections=CONNECTIONS, parameters={"key": token, "path": PATH})


def _check(product: Product, token: str, size: int) -> list[str]:
    """See that it is the newest plays that are answered, in order, and that there are more."""
    answer = send("GET", product.url("activity") + PATH, bearer=token)
    names = [play["displayName"] for play in answer["data"]]
    if names != [f"Reader {number}" for number in range(size, size - LIMIT, -1)] or not answer["nextCursor"]:
        return [f"the first page of {size:,} plays is not the newest {LIMIT}"]
    return []


QUESTION = Question(
    "growth_page", "The first page of GET /api/plan-plays, the longer the list", ask, in_quick=False, in_full=False
)
"""Asked by name (`make bench-growth`): the rows alone take a while to make."""
