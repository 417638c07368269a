"""How many durable decisions for a bare "hello"? 32 events a request beside bare aiohttp on uvloop."""

from functools import partial

from bench.authorizing import Authorizations
from bench.finding import Finding
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage
from bench.wrk import Load, run_wrk

CLIENTS = 1000
CONNECTIONS = 64
EVENTS = 32
TARGET = 2.5


def ask(stage: Stage, effort: Effort) -> Finding:
    """Authorize many at once, beside hello."""
    finding = Finding()
    metering = Authorizations(stage, CLIENTS)
    hello = stage.start_peer("aiohttp_constant")

    def say_hello(seconds: int) -> Load:
        return run_wrk(hello.url, "get", seconds=seconds, connections=CONNECTIONS)

    many = partial(metering.load, CONNECTIONS, events=EVENTS)
    finding.sides = interleave(
        {
            "decisions, 32 a request": stage.measure(finding, metering.servers, many, things_a_request=EVENTS),
            "aiohttp hello": stage.measure(finding, [hello], say_hello),
        },
        effort,
    )
    decisions, hellos = finding.sides.values()
    finding.claims.append(compare("decisions to hellos of bare aiohttp", decisions, hellos, TARGET))
    finding.faults += metering.check()
    return finding


QUESTION = Question("authorize_many", "Authorize, 32 events a request, against bare aiohttp's hello", ask)
