"""What does get-plans cost above sending the same bytes, and what would it cost in FastAPI? 1,000 plans, gzipped."""

import gzip
import json
import urllib.request
from functools import partial
from typing import Any

import psycopg

from bench.creating import issue_tokens
from bench.errors import BenchError
from bench.finding import Finding
from bench.peers.start import start_uvicorn
from bench.product import Product
from bench.question import Effort, Question
from bench.rounds import compare, interleave
from bench.stage import Stage
from bench.wrk import Load, run_wrk
from local_stack.ports import LOOPBACK_OPENER

PLANS = 1000
FASTAPI_CONNECTIONS = 2
"""It answers a few requests a second: with more, most of a run's would be cut off at its end, or all of them."""
BYTES_TARGET = 0.8
FASTAPI_TARGET = 300.0
COLUMNS = """plan_id text PRIMARY KEY, plan_name text, description text, collection_id text, color text,
    created_at timestamptz, updated_at timestamptz,
    associated_documents json, associated_supplemental_benefits json"""


def ask(stage: Stage, effort: Effort) -> Finding:
    """Ask the catalog, bare aiohttp with the catalog's own bytes, and FastAPI with the catalog's own plans."""
    finding = Finding()
    product = stage.start_product("catalog")
    token = issue_tokens(product, ["client-1"])[0]
    import_plans(stage, product)
    answer = fetch(product.url("catalog"), token)
    plans = json.loads(gzip.decompress(answer))["data"]
    file = stage.directory / "plans.json.gz"
    file.write_bytes(answer)
    bare = stage.start_peer("aiohttp_constant", str(file))
    fastapi = start_uvicorn(stage, "fastapi_plans", {"POSTGRES_DSN": store_plans(stage, plans)})

    def load(url: str, connections: int, seconds: int) -> Load:
        return run_wrk(url, "get_plans", seconds=seconds, connections=connections, parameters={"token": token})

    catalog = product.servers["catalog"]
    for connections in effort.connections:
        sides = {
            f"get-plans, {connections} connections": stage.measure(
                finding, [catalog], partial(load, catalog.url, connections)
            ),
            f"aiohttp, the same bytes, {connections} connections": stage.measure(
                finding, [bare], partial(load, bare.url, connections)
            ),
        }
        is_first = connections == effort.connections[0]
        if is_first:
            sides[f"FastAPI, {FASTAPI_CONNECTIONS} connections"] = stage.measure(
                finding, [fastapi], partial(load, fastapi.url, FASTAPI_CONNECTIONS)
            )
        runs = list((found := interleave(sides, effort)).values())
        finding.sides |= found
        text = f"to bare aiohttp sending the same bytes, {connections} connections"
        finding.claims.append(compare(text, runs[0], runs[1], BYTES_TARGET if is_first else None))
        if is_first:
            finding.claims.append(compare("to FastAPI, SQLAlchemy and pydantic", runs[0], runs[2], FASTAPI_TARGET))
    if fetch(catalog.url, token) != answer or len(plans) != PLANS:
        finding.faults.append("the catalog's answer is not what it was")
    if by_id(json.loads(gzip.decompress(fetch(fastapi.url, token)))["data"]).keys() != by_id(plans).keys():
        finding.faults.append("FastAPI answers other plans")
    finding.notes.append(
        f"{len(answer):,} bytes gzipped, {len(gzip.decompress(answer)):,} plain. The token is checked."
    )
    return finding


def import_plans(stage: Stage, product: Product) -> None:
    """Put a thousand plans in, by the catalog's own command."""
    plans = [
        {
            "plan_id": f"plan-{number:04}",
            "plan_name": f"Plan {number}",
            "description": f"What plan {number} covers, in a sentence of a usual length",
            "collection_id": f"collection-{number % 20}",
            "color": "#4CAF50",
            "associated_documents": [{"document_id": f"doc-{number}", "document_name": f"Terms of plan {number}"}],
            "associated_supplemental_benefits": [
                {"supplemental_benefit_id": f"benefit-{number % 7}", "benefit_name": "Dental"}
            ],
        }
        for number in range(PLANS)
    ]
    file = stage.directory / "plans.json"
    file.write_text(json.dumps(plans))
    done = product.command("catalog", "plans", "import", str(file), "--client", "client-1")
    if done.returncode != 0:
        raise BenchError(f"the plans could not be imported: {done.stderr}")


def store_plans(stage: Stage, plans: list[dict[str, Any]]) -> str:
    """Put the same plans into a database of FastAPI's, and answer its URL."""
    dsn = stage.create_database("fastapi_plans")
    with psycopg.connect(dsn) as connection:
        connection.execute(f"CREATE TABLE plan ({COLUMNS})".encode())
        connection.cursor().execute(
            "INSERT INTO plan SELECT * FROM json_populate_recordset(NULL::plan, %s)", [json.dumps(plans)]
        )
    return dsn


def fetch(url: str, token: str) -> bytes:
    """Return the bytes of get-plans as they are sent, gzipped."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip", "Authorization": f"Bearer {token}"}
    with LOOPBACK_OPENER.open(urllib.request.Request(f"{url}/get-plans", b"{}", headers), timeout=30) as response:
        body: bytes = response.read()
    return body


def by_id(plans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Index plans: their order is nobody's promise."""
    return {plan["plan_id"]: plan for plan in plans}


QUESTION = Question("get_plans", "get-plans, 1,000 plans gzipped, against the same bytes and against FastAPI", ask)
