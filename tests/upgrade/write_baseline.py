"""What `take_baseline` runs, as a test is run, for the fixtures: no test, and not collected as one."""

import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest
from psycopg.conninfo import conninfo_to_dict

from activity_service.components import COMPONENTS as ACTIVITY
from catalog_service.clients.register import RegisterClients
from catalog_service.components import COMPONENTS as CATALOG
from tests.conftest import FreshDatabase
from tests.security.house import KEYS, House
from tests.upgrade.baseline import DIRECTORY, SERVICES, digest_migrations, dump
from tests.upgrade.recording import Recording, forget_what_differs, record_sessions, replay

TERMS = {
    "prices": {"*": 1},
    "credits": "prepaid",
    "quotas": [
        {"name": "monthly", "limit": 100, "counts": "events", "period": "month"},
        {"name": "each user's", "limit": 50, "counts": "units", "period": "day", "per": "user"},
    ],
}


async def test_write_baseline(fresh_database: FreshDatabase, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dsns = {service: fresh_database(f"{service}_service") for service in SERVICES}
    recordings = record_sessions(monkeypatch)
    async with aiohttp.ClientSession() as http:
        house = await House.build(dsns, redis_url, http)
        try:
            await use(house)
        finally:
            await house.close()
    moment = datetime.now(UTC)
    for service in SERVICES:
        directory = DIRECTORY / service
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "schema.sql").write_text(dump(fresh_database(f"{service}_service"), with_rows=True))
        (directory / "migrations.json").write_bytes(
            orjson.dumps(digest_migrations(service), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )
        recording = recordings[str(conninfo_to_dict(dsns[service])["dbname"])]
        results = await replay_twice(recording, moment, lambda: fresh_database(f"{service}_service"))  # noqa: B023
        (directory / "statements.json").write_text(as_lines(recording.as_document(moment, results)))


async def replay_twice(recording: Recording, moment: datetime, create: Callable[[], str]) -> list[Any]:
    document = recording.as_document(moment, [None] * len(recording.statements))
    return forget_what_differs(await replay(create(), document), await replay(create(), document))


def as_lines(document: dict[str, Any]) -> str:
    """Return `document` as JSON with a line for each item, so that a difference can be read."""
    parts = []
    for name, value in document.items():
        lines = ",\n".join(orjson.dumps(each).decode() for each in value) if isinstance(value, list) else ""
        parts.append(f'"{name}": ' + (f"[\n{lines}\n]" if lines else orjson.dumps(value).decode()))
    return "{\n" + ",\n".join(parts) + "\n}\n"


async def use(house: House) -> None:
    """Call what clients and services call, with every turn that a charge can take."""
    token = await house.token()
    await use_catalog(house, token)
    await house.call("metering", "PUT", "/internal/policies/sold", bearer=KEYS["admin"], body=TERMS)
    of_client = "/internal/clients/client-a"
    for method, path, body in (
        ("PUT", f"{of_client}/policy", {"policyId": "sold", "create": True}),
        ("POST", f"{of_client}/grants", {"grantId": "g", "credits": 40}),
    ):
        status, answer = await house.call("metering", method, path, bearer=KEYS["admin"], body=body)
        assert status == 200, answer
    await use_metering(house)
    await use_activity(house, token)
    for path in ("balance", "quota", "ledger", "usage", "refusals", "summary", "decisions"):
        status, answer = await house.call("metering", "GET", f"{of_client}/{path}", bearer=KEYS["admin"])
        assert status == 200, answer


async def use_catalog(house: House, token: str) -> None:
    register = RegisterClients(house.apps["catalog"][CATALOG].plans.pool)
    _, issued = await register.register("shop", name="shop", actor="test")
    credentials = {"client_id": "shop", "client_secret": issued.client_secret, "fingerprint": "device"}
    for path, bearer, body in (
        ("/generate-client-auth-token", None, credentials),
        ("/get-plans", token, {}),
        ("/get-plan-details", token, {"plan_id": "{plan_id}"}),
        ("/sync-plan", token, {"plan_id": "{plan_id}", "plan_name": "Other"}),
        ("/sync-plan", token, {"plan_name": "Second", "description": "", "collection_id": "col-1", "color": "red"}),
        ("/get-plans", token, {"collection_id": "col-1"}),
        ("/sync-plan", token, {"plan_id": "{plan_id}", "is_delete": True}),
    ):
        status, answer = await house.call("catalog", "POST", path, bearer=bearer, body=body)
        assert status == 200, answer
    assert (await house.call("catalog", "GET", "/.well-known/jwks.json"))[0] == 200


async def use_metering(house: House) -> None:
    """Hold and settle whole, in part, above, late and twice; release before and after; and be refused."""

    def attempt(number: int, units: int = 1) -> dict[str, Any]:
        return {
            "holdId": str(uuid.UUID(hashlib.sha256(f"hold {number}".encode()).hexdigest()[:32])),
            "eventId": f"report.rendered:{number}",
            "clientId": "client-a",
            "eventType": "report.rendered",
            "userId": "user-1",
            "units": units,
        }

    def ids(number: int, **fields: Any) -> dict[str, Any]:
        return {name: attempt(number)[name] for name in ("holdId", "eventId", "clientId")} | fields

    def late(number: int) -> dict[str, Any]:
        return attempt(number) | {"happenedAt": datetime.now(UTC).isoformat()}

    for call, events in (
        ("authorize", [attempt(1), attempt(2, units=4), attempt(3)]),
        ("authorize", [attempt(1)]),
        ("settle", [ids(1), ids(2, units=2)]),
        ("settle", [ids(1)]),
        ("authorize", [attempt(1)]),
        ("release", [ids(3), ids(4)]),
        ("authorize", [attempt(3), attempt(4)]),
        ("settle", [late(5)]),
        ("authorize", [attempt(6)]),
        ("settle", [ids(6, units=3)]),
        ("authorize", [attempt(7, units=40)]),
        ("settle", [ids(8)]),
    ):
        status, answer = await house.call(
            "metering", "POST", f"/internal/events/{call}", bearer=KEYS["events"], body={"events": events}
        )
        assert status == 200, answer


async def use_activity(house: House, token: str) -> None:
    for user in ("user-1", "user-2"):
        status, play = await house.call(
            "activity", "POST", "/api/plan-plays", bearer=token, body={"planId": "p", "userId": user}
        )
        assert status == 201, play
    path = f"/api/plan-plays/{play['data']['id']}"
    for method, body in (
        ("PATCH", {"currentLessonIndex": 1}),
        ("PATCH", {"status": "ended"}),
        ("PATCH", {"status": "active"}),
        ("GET", None),
    ):
        status, answer = await house.call("activity", method, path, bearer=token, body=body)
        assert status == 200, answer
    assert (await house.call("activity", "GET", "/api/plan-plays?limit=2", bearer=token))[0] == 200
    components = house.apps["activity"][ACTIVITY]
    await components.billing.relay.settle_committed()
    await components.billing.sweeper.run_once()
