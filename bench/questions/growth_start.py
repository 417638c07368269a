"""How long does each service take from its start to being ready, on empty tables and on a million facts?"""

import time

from bench.bulk import make_accounts, make_charges, make_plays
from bench.finding import Claim, Curve, Finding, Plot
from bench.processes import Server
from bench.product import Product
from bench.question import Effort, Question
from bench.stage import Stage
from local_stack.topology import HEALTH_PATH

FACTS = 1_000_000
QUICK_FACTS = 10_000
CLIENTS = 1000
SERVICES = ("catalog", "metering", "activity")


def ask(stage: Stage, effort: Effort) -> Finding:
    """Start each service again and again, in turn on both databases."""
    finding, facts = Finding(), QUICK_FACTS if effort.is_quick else FACTS
    products = {"empty": stage.start_product(*SERVICES), "full": stage.start_product(*SERVICES)}
    make_accounts(products["full"], CLIENTS)
    make_charges(products["full"], facts, clients=CLIENTS)
    make_plays(products["full"], facts, clients=CLIENTS)
    servers = {name: dict(product.servers) for name, product in products.items()}
    curves = []
    for service in SERVICES:
        seconds: dict[str, list[float]] = {name: [] for name in products}
        for number in range(effort.rounds):
            for name in list(products) if number % 2 == 0 else reversed(list(products)):
                servers[name][service].stop()
                begun = time.monotonic()
                servers[name][service] = _start(stage, products[name], service)
                seconds[name].append(time.monotonic() - begun)
        ratios = [full / empty for full, empty in zip(seconds["full"], seconds["empty"], strict=True)]
        finding.claims.append(Claim(f"{service}: start on {facts:,} facts to one on none", ratios))
        curves += [
            Curve(f"{service}, {name}", list(range(1, effort.rounds + 1)), taken) for name, taken in seconds.items()
        ]
        middle = {name: sorted(taken)[len(taken) // 2] for name, taken in seconds.items()}
        finding.notes.append(
            f"{service}: {middle['empty']:.2f} s on empty tables, {middle['full']:.2f} s on {facts:,} facts."
        )
    finding.notes.append("Looked at every 50 ms, on one core.")
    finding.plot = Plot("round", "seconds from start to ready", curves)
    return finding


def _start(stage: Stage, product: Product, service: str) -> Server:
    environment = product.environments[service]
    return stage.start(
        service,
        environment.service.command("serve"),
        url=environment.url,
        environment=environment.variables,
        ready_url=environment.operations_url + HEALTH_PATH,
    )


QUESTION = Question("growth_start", "From a service's start to its being ready", ask, in_quick=False, in_full=False)
"""Asked by name (`make bench-growth`): the rows alone take a while to make."""
