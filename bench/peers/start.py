"""Start a peer, with its tables filled."""

import shutil
from pathlib import Path

import psycopg

from bench.errors import BenchError
from bench.processes import Server
from bench.product import CREDITS
from bench.stage import Stage
from local_stack.ports import LOOPBACK, choose_free_port
from local_stack.processes import REPOSITORY

HERE = Path(__file__).parent
PEERS_PYTHON = REPOSITORY / ".venv" / "bench-peers" / "bin" / "python"


def fill_usage_database(stage: Stage, name: str, clients: list[str]) -> str:
    """Make a peer's database with an account for each client; answer its URL."""
    dsn = stage.create_database(name)
    with psycopg.connect(dsn) as connection:
        connection.execute((HERE / "usage.sql").read_bytes())
        connection.cursor().executemany(
            "INSERT INTO account (client_id, balance) VALUES (%s, %s)", [(client, CREDITS) for client in clients]
        )
        connection.execute("ANALYZE")
    return dsn


def check_usage_database(dsn: str) -> list[str]:
    """Hold balances against usage rows, client by client; answer what is wrong."""
    with psycopg.connect(dsn) as connection:
        wrong = connection.execute(
            """SELECT client_id FROM account LEFT JOIN (
                   SELECT client_id, sum(credits) AS used FROM usage GROUP BY client_id) AS usage USING (client_id)
               WHERE balance <> %s - coalesce(used, 0)""",
            [CREDITS],
        ).fetchall()
    return [f"{len(wrong)} balances of a peer are not what was used"] if wrong else []


def fill_same_work_databases(stage: Stage, clients: list[str]) -> tuple[str, str]:
    """Make the databases of node_metering.js, with an account for each client, and of node_activity.js; answer their
    URLs.
    """
    dsns = stage.create_database("same_metering"), stage.create_database("same_activity")
    for dsn, tables in zip(dsns, (HERE / "same_work.sql").read_text().split("-- ----"), strict=True):
        with psycopg.connect(dsn) as connection:
            connection.execute(tables.encode())
    with psycopg.connect(dsns[0]) as connection:
        connection.cursor().executemany(
            "INSERT INTO account (client_id, granted) VALUES (%s, %s)", [(client, CREDITS) for client in clients]
        )
        connection.execute("ANALYZE")
    return dsns


def check_same_work_databases(metering: str, activity: str) -> list[str]:
    """Hold accounts against ledger and holds, and plays against ledger lines; answer what is wrong."""
    with psycopg.connect(metering) as connection:
        wrong = connection.execute(
            """SELECT client_id FROM account LEFT JOIN (
                   SELECT client_id, -sum(credits) AS used FROM ledger GROUP BY client_id) AS lines USING (client_id)
               WHERE spent <> coalesce(used, 0) OR held <> 0"""
        ).fetchall()
        charged = {event for (event,) in connection.execute("SELECT event_id FROM ledger")}
    with psycopg.connect(activity) as connection:
        plays = {f"plan_play.created:{play}" for (play,) in connection.execute("SELECT id FROM plan_play")}
    faults = [f"{len(wrong)} accounts of the peer are not what was used"] if wrong else []
    return faults + ([f"{len(plays ^ charged)} plays and charges of the peer differ"] if plays != charged else [])


def start_same_work(stage: Stage, metering: str, activity: str, jwks_url: str) -> list[Server]:
    """Start node_activity.js and node_metering.js, in this order. Raises BenchError as start_node does."""
    port, metering_port = choose_free_port(), choose_free_port()
    metering_url = f"http://{LOOPBACK}:{metering_port}"
    second = stage.start(
        "node-metering",
        [_find_node(), HERE / "node_metering.js", str(metering_port)],
        url=metering_url,
        environment={"POSTGRES_DSN": metering, "REDIS_URL": stage.redis.url, "NODE_ENV": "production"},
    )
    first = stage.start(
        "node-activity",
        [_find_node(), HERE / "node_activity.js", str(port)],
        url=f"http://{LOOPBACK}:{port}",
        environment={
            "POSTGRES_DSN": activity,
            "METERING_URL": metering_url,
            "JWKS_URL": jwks_url,
            "NODE_ENV": "production",
        },
    )
    return [first, second]


def _find_node() -> str:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").exists():
        raise BenchError("Node.js or its modules are not installed: install Node.js 20 and npm, then make bench")
    return node


def start_node(stage: Stage, form: str, dsn: str) -> Server:
    """Start node_create.js. Raises BenchError when Node.js or its modules are not there."""
    port = choose_free_port()
    return stage.start(
        f"node-{form}",
        [_find_node(), HERE / "node_create.js", str(port), form],
        url=f"http://{LOOPBACK}:{port}",
        environment={"POSTGRES_DSN": dsn, "REDIS_URL": stage.redis.url, "NODE_ENV": "production"},
    )


def start_uvicorn(stage: Stage, module: str, environment: dict[str, str]) -> Server:
    """Start one worker of a FastAPI application in the peers' own environment. Raises BenchError without that."""
    if not PEERS_PYTHON.exists():
        raise BenchError("the peers' environment is not installed: make bench does it")
    port = choose_free_port()
    command = [str(PEERS_PYTHON), "-m", "uvicorn", f"bench.peers.{module}:app", "--host", LOOPBACK]
    return stage.start(
        module,
        [*command, "--port", str(port), "--no-access-log", "--log-level", "warning"],
        url=f"http://{LOOPBACK}:{port}",
        environment={"PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
