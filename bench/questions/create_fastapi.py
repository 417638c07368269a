"""A metered create through both services beside FastAPI, limits and asyncpg, which has neither token nor service."""

from functools import partial

from bench.creating import MeteredCreates, PeerCreates
from bench.finding import Finding
from bench.peers.start import fill_usage_database, start_uvicorn
from bench.question import Effort, Question
from bench.rounds import compare, compare_cost, interleave
from bench.stage import Stage, name_clients

CLIENTS = 1000
CONNECTIONS = 64
TARGET = 6.0


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create on both, in turn."""
    finding = Finding()
    ours = MeteredCreates(stage, CLIENTS)
    dsn = fill_usage_database(stage, "fastapi", name_clients(CLIENTS))
    environment = {"POSTGRES_DSN": dsn, "REDIS_URL": stage.redis.url}
    peer = PeerCreates(start_uvicorn(stage, "fastapi_create", environment), dsn, CLIENTS)
    finding.sides = interleave(
        {
            "metered create": stage.measure(finding, ours.servers, partial(ours.load, CONNECTIONS)),
            "FastAPI, idempotent": stage.measure(finding, peer.servers, partial(peer.load, CONNECTIONS)),
        },
        effort,
    )
    own, theirs = finding.sides.values()
    finding.claims += [
        compare("to FastAPI, limits and asyncpg", own, theirs, TARGET),
        compare_cost("p99 to FastAPI's", own, theirs, "p99"),
    ]
    finding.faults += ours.check() + peer.check()
    return finding


QUESTION = Question("create_fastapi", "Metered create through both services, against FastAPI", ask, in_quick=False)
