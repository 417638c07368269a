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


def start_node(stage: Stage, form: str, dsn: str) -> Server:
    """Start node_create.js. Raises BenchError when Node.js or its modules are not there."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").exists():
        raise BenchError("Node.js or its modules are not installed: install Node.js 20 and npm, then make bench")
    port = choose_free_port()
    return stage.start(
        f"node-{form}",
        [node, HERE / "node_create.js", str(port), form],
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
