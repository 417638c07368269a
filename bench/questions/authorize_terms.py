"""What do terms cost? Two rates, two quotas and many grants a client, beside one rate and one grant."""

from functools import partial

from bench.authorizing import Authorizations
from bench.bulk import make_grants
from bench.finding import Finding
from bench.product import POLICY, Product, send
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage

CLIENTS = 200
CONNECTIONS = 64
EVENTS = 8
GRANT_CREDITS = 1_000_000
FEW, MANY = 5, 1000
FEW_TARGET, MANY_TARGET = 0.7, 0.65

TERMS = {
    **POLICY,
    "rates": [{"name": name, "limit": 1_000_000, "periodSeconds": 1, "burst": 1_000_000} for name in ("r", "s")],
    "quotas": [
        {"name": "monthly", "limit": 10**9, "period": "month"},
        {"name": "units", "limit": 10**9, "counts": "units", "period": "day", "per": "user"},
    ],
}


def set_terms(product: Product, grants: int, *, clients: int) -> None:
    """Give the product's `clients` TERMS in place of its plain policy, and `grants` each in place of one."""
    send("PUT", f"{product.url('metering')}/internal/policies/bench", TERMS, bearer=product.admin_key)
    make_grants(product, grants - 1, clients=clients, credits=GRANT_CREDITS)


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize on plain terms, and on several limits with few and with many grants."""
    finding = Finding()
    plain = Authorizations(stage, CLIENTS)
    sides = {"one rate, one grant": plain}
    for grants in (FEW, MANY):
        metering = sides[f"2 rates, 2 quotas, {grants:,} grants"] = Authorizations(stage, CLIENTS)
        set_terms(metering.product, grants, clients=CLIENTS)
    finding.sides = interleave(
        {
            name: stage.measure(
                finding,
                metering.servers,
                partial(metering.load, CONNECTIONS, events=EVENTS),
                things_a_request=EVENTS,
            )
            for name, metering in sides.items()
        },
        effort,
    )
    on_plain, *others = finding.sides.values()
    for grants, target, side in zip((FEW, MANY), (FEW_TARGET, MANY_TARGET), others, strict=True):
        finding.claims.append(compare(f"2 rates, 2 quotas and {grants:,} grants to plain", side, on_plain, target))
    for metering in sides.values():
        finding.faults += metering.check()
    return finding


QUESTION = Question("authorize_terms", "Authorize on several limits and grants, against plain terms", ask)
