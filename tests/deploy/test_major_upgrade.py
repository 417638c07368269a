"""PostgreSQL's next major version as the operations page says, with callers until they are stopped."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from local_stack.postgres_server import PostgresServer, find_binaries
from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema
from tests.pages import ROOT, list_blocks

pytestmark = pytest.mark.system

DATABASES = ("catalog", "activity", "metering")
BEGINNINGS = (
    "docker compose stop proxy metering-proxy catalog activity metering",
    "docker compose up --detach --wait postgres",
)
ENGINE = r"""#!/bin/bash
# The containers' part: a client is registered, and told so, at each call for as long as the services run.
set -euo pipefail
psql() { command psql --quiet --no-psqlrc --username=postgres --set=ON_ERROR_STOP=1 "$@"; }
if [ ! -e stopped ]; then
  id=client-$RANDOM-$RANDOM
  psql --dbname=catalog --command="INSERT INTO client (client_id, name, created_at) VALUES ('$id', 'x', now())"
  echo "$id" >>acknowledged
fi
case "$*" in
  "compose exec -T postgres "*) shift 4; exec "$@" ;;
  "compose stop "*) touch stopped ;;
  "volume rm metered-plans_postgres-data") for each in DATABASES; do psql --command="DROP DATABASE $each"; done ;;
  *"up --detach --wait postgres") for each in DATABASES; do psql --command="CREATE DATABASE $each"; done ;;
  *"up --detach --wait") rm stopped ;;
esac
""".replace("DATABASES", " ".join(DATABASES))


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Have the three databases, as migrated, for as long as the test runs."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        for name in DATABASES:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            apply_schema(postgres_server.dsn(name), schema_of(f"{name}_service"))
        yield postgres_server
        for name in DATABASES:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_nothing_that_was_acknowledged_is_gone_with_the_old_volume(server: PostgresServer, tmp_path: Path) -> None:
    page = list(list_blocks(ROOT / "docs" / "operations" / "upgrade.md"))
    blocks = [next(each.text for each in page if each.first_line == beginning) for beginning in BEGINNINGS]
    engine = tmp_path / "docker"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    there = conninfo_to_dict(server.dsn())
    environment = {
        **{name: value for name, value in os.environ.items() if name != "COMPOSE_PROJECT_NAME"},
        "PATH": f"{tmp_path}:{find_binaries()}:{os.environ['PATH']}",
        **{"PGHOST": str(there["host"]), "PGPORT": str(there["port"]), "PGPASSWORD": str(there["password"])},
    }
    for block in blocks:
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment, check=True, timeout=120
        )
    acknowledged = (tmp_path / "acknowledged").read_text().split()
    with psycopg.connect(server.dsn("catalog")) as connection:
        stored = {client_id for (client_id,) in connection.execute("SELECT client_id FROM client").fetchall()}
    assert stored == set(acknowledged) != set()
