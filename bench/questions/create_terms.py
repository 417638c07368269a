"""What do terms cost a create? Two rates, two quotas and a few grants a client, beside one rate and one grant."""

from functools import partial

from bench.creating import MeteredCreates
from bench.finding import Finding
from bench.question import Effort, Question
from bench.questions.authorize_terms import FEW, set_terms
from bench.rounds import compare, interleave
from bench.stage import Stage

CLIENTS = 200
CONNECTIONS = 64
TARGET = 0.85


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on plain terms, and on several limits and grants."""
    finding = Finding()
    plain, terms = MeteredCreates(stage, CLIENTS), MeteredCreates(stage, CLIENTS)
    set_terms(terms.product, FEW, clients=CLIENTS)
    sides = {"one rate, one grant": plain, f"2 rates, 2 quotas, {FEW} grants": terms}
    finding.sides = interleave(
        {name: stage.measure(finding, each.servers, partial(each.load, CONNECTIONS)) for name, each in sides.items()},
        effort,
    )
    on_plain, on_terms = finding.sides.values()
    finding.claims.append(compare(f"2 rates, 2 quotas and {FEW} grants to plain", on_terms, on_plain, TARGET))
    for each in sides.values():
        finding.faults += each.check()
    return finding


QUESTION = Question("create_terms", "Metered create on several limits and grants, against plain terms", ask)
