"""After both services' erase commands, a person is in no database, no Redis and no log, and every charge stands."""

import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest
import redis.asyncio

from tests.operator_command import Done, run_command
from tests.stack.api import Api
from tests.stack.running_stack import read_all

pytestmark = [pytest.mark.stack, pytest.mark.system]

MARK = "zq7erased"
USER = f"{MARK}-user"
PERSON = {
    "email": f"{MARK}@example.org",
    "displayName": f"{MARK} name",
    "photoURL": f"https://example.org/{MARK}.png",
}


async def call_metering(stack: dict[str, Any], path: str, body: dict[str, Any]) -> Any:
    """Call what activity calls, with its key."""
    headers = {"Authorization": f"Bearer {stack['service_keys']['events']}"}
    url = f"{stack['metering']['url']}/internal/events/{path}"
    async with aiohttp.request("POST", url, json=body, headers=headers) as response:
        assert response.status == 200
        return await response.json()


async def leave_holds(stack: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Have metering hold events of the person whose requests are gone; return them."""
    names = {"clientId": "demo-unlimited", "eventType": "plan_play.created", "userId": USER}
    events = [
        {"holdId": str(uuid.uuid4()), "eventId": f"plan_play.created:{uuid.uuid4()}", **names} for _ in range(count)
    ]
    answer = await call_metering(stack, "authorize", {"events": events})
    assert [decision["decision"] for decision in answer["decisions"]] == ["granted"] * count
    return events


def ids_of(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("clientId", "holdId", "eventId")}


async def command(stack: dict[str, Any], service: str, *arguments: str) -> Done:
    return await run_command(service, stack["postgres"]["dsn"][service], *arguments)


async def read_everything(stack: dict[str, Any]) -> str:
    """Return every row of every table, and all that Redis keeps."""
    found = []
    for dsn in stack["postgres"]["dsn"].values():
        connection = await asyncpg.connect(dsn)
        try:
            tables = await connection.fetch("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
            for (table,) in tables:
                found += [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t")]
        finally:
            await connection.close()
    client = redis.asyncio.Redis.from_url(stack["redis"]["url"], decode_responses=True)
    found += [key async for key in client.scan_iter()]
    await client.aclose()
    return "\n".join(found)


async def test_an_erased_person_is_nowhere_and_every_charge_stands(
    api: Api, stack: dict[str, Any], log_directory: Path, tmp_path: Path
) -> None:
    token = await api.token("demo-unlimited")
    plays = []
    for number in range(3):
        status, answer = await api.plays(
            "POST",
            token,
            body={"planId": "plan", "userId": USER, **PERSON},
            **{"Idempotency-Key": f"{MARK}-{number}"},
        )
        assert status == 201
        plays.append(answer["data"]["id"])
    assert (await api.plays("PATCH", token, f"/{plays[0]}", {"status": "ended"}))[0] == 200
    held, released = await leave_holds(stack, 2)
    await call_metering(stack, "release", {"events": [ids_of(released)]})
    assert USER in await read_everything(stack)
    who = ("--client", "demo-unlimited", "--user", USER, "--yes", "--json")
    deadline = time.monotonic() + 10
    while (done := await command(stack, "activity", "users", "erase", *who)).code != 0:
        assert "not charged yet" in done.trace, done
        assert time.monotonic() < deadline, done
    # Here the operator's machine went down: metering was not told, and everything is done once more.
    done = await command(stack, "activity", "users", "erase", *who)
    assert (done.code, MARK in done.output + done.trace) == (1, False)
    assert MARK in await read_everything(stack)
    done = await command(stack, "metering", "users", "erase", *who)
    assert (done.code, orjson.loads(done.output)) == (0, {"events": 5})
    assert MARK not in await read_everything(stack)
    # The event in doubt goes on under the id that its request knows, and ends without it.
    answer = await call_metering(stack, "authorize", {"events": [held]})
    assert answer["decisions"][0]["decision"] == "granted"
    await call_metering(stack, "release", {"events": [ids_of(held)]})
    assert MARK not in await read_everything(stack)
    for name, text in read_all(log_directory).items():
        assert MARK not in text, name

    events = {f"plan_play.created:{play}" for play in plays} | {f"plan_play.completed:{plays[0]}"}
    charged = set()
    page: dict[str, Any] = {"nextCursor": ""}
    while (cursor := page["nextCursor"]) is not None:
        page = await api.metering(f"clients/demo-unlimited/ledger?limit=500{cursor and '&cursor=' + cursor}")
        charged |= {entry.get("eventId") for entry in page["entries"]}
    assert events <= charged
    key_file = tmp_path / "key"
    key_file.write_text(stack["service_keys"]["admin"])
    assert (await command(stack, "metering", "audit")).code == 0
    joined = ("--metering-url", stack["metering"]["url"], "--metering-key-file", str(key_file))
    assert (await command(stack, "activity", "audit", *joined)).code == 0
    # The person's key, used again, makes nothing.
    status, answer = await api.plays(
        "POST", token, body={"planId": "plan", "userId": USER, **PERSON}, **{"Idempotency-Key": f"{MARK}-0"}
    )
    assert (status, answer["details"][0]["field"]) == (400, "Idempotency-Key")
