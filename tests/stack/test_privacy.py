"""Nothing of a person, and no secret, in anything that the processes write: logs, metrics, answers about errors."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.stack.api import Api
from tests.stack.running_stack import read_all

pytestmark = [pytest.mark.stack, pytest.mark.system]

MARK = "zq9marked"
USER = {
    "first_name": f"{MARK}-first",
    "last_name": f"{MARK}-last",
    "email": f"{MARK}@example.org",
    "group_name": f"{MARK}-group",
}
PLAY = {
    "planId": "plan-abc-123",
    "userId": f"{MARK}-user",
    "email": f"{MARK}-play@example.org",
    "displayName": f"{MARK} name",
    "photoURL": f"https://example.org/{MARK}.png",
    "assignmentSource": f"{MARK}-source",
    "riskLevel": f"{MARK}-risk",
    "plannedLessons": [f"{MARK}-lesson"],
}
NONSENSE: list[Any] = [MARK, {MARK: MARK}, [MARK], {"planId": [MARK], MARK: 1}, {"plan_id": {MARK: 1}}]


async def send_raw(url: str, data: bytes) -> bytes:
    """Send bytes as they are and answer all that comes back."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(data)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def run_good_traffic(api: Api) -> list[str]:
    """Do all that a client does, with marked values; answer the tokens and secrets that were used."""
    tokens = [await api.token("demo-unlimited"), await api.token("demo-unlimited", USER)]
    plan = {name: f"{MARK}-{name}" for name in ("plan_name", "description", "collection_id", "color")}
    status, answer = await api.catalog("sync-plan", plan, tokens[0])
    assert status == 200
    await api.catalog("sync-plan", {"plan_id": answer["data"]["plan_id"], "is_delete": True}, tokens[0])
    for _ in range(2):
        key = {"Idempotency-Key": f"{MARK}-key"}
        status, answer = await api.plays("POST", tokens[0], body=PLAY, **key)
        assert status == 201
    path = f"/{answer['data']['id']}"
    assert (await api.plays("PATCH", tokens[0], path, {"status": "ended", "completedLessons": [MARK]}))[0] == 200
    assert (await api.plays("GET", tokens[0], f"?userId={MARK}-user&planId={MARK}"))[0] == 200
    status, answer = await api.plays("POST", tokens[1], body={"planId": "p", "email": f"{MARK}@example.org"})
    assert status == 201
    return tokens


async def run_bad_traffic(api: Api, token: str) -> list[bytes]:
    """Do all that goes wrong, with marked values; answer what was said about it."""
    answers: list[bytes] = []
    credentials = {"client_id": MARK, "client_secret": f"{MARK}-secret", "fingerprint": MARK, "user": USER}
    calls: list[tuple[str, str, Any, str | None]] = [
        ("catalog", "generate-client-auth-token", credentials, None),
        ("catalog", "generate-client-auth-token", {**credentials, "user": {"email": MARK}}, None),
        ("catalog", "get-plan-details", {"plan_id": MARK}, token),
        ("catalog", f"{MARK}?{MARK}={MARK}", {}, token),
        ("catalog", "get-plans", {}, f"{MARK}.{MARK}.{MARK}"),
        ("activity", f"api/plan-plays/{MARK}", None, token),
        ("activity", f"api/plan-plays?status={MARK}&limit={MARK}&cursor={MARK}", None, token),
        ("activity", "api/plan-plays", {**PLAY, "status": MARK}, token),
        ("activity", "api/plan-plays", {**PLAY, "email": f"{MARK}\x00"}, token),
        ("activity", "api/plan-plays", PLAY, f"{MARK}.{MARK}.{MARK}"),
        *(("activity", "api/plan-plays", body, token) for body in NONSENSE),
        *(("catalog", "sync-plan", body, token) for body in NONSENSE),
        *(("metering", "internal/events/authorize", body, MARK) for body in NONSENSE),
        *(("metering", "internal/events/settle", body, api.stack["service_keys"]["events"]) for body in NONSENSE),
    ]
    for service, path, body, bearer in calls:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        method = "GET" if body is None else "POST"
        url = f"{api.stack[service]['url']}/{path}"
        async with api.session.request(method, url, json=body, headers=headers) as response:
            assert 400 <= response.status < 500, (service, path, response.status)
            answers.append(await response.read())
    for service in ("catalog", "activity", "metering"):
        url = api.stack[service]["url"]
        for line in (f"{MARK} / HTTP/1.1", f"GET /{MARK}{'x' * 9000} HTTP/1.1", f"GET / HTTP/1.1\r\n{MARK} x: 1"):
            answers.append(await send_raw(url, f"{line}\r\nHost: {MARK}\r\n\r\n".encode()))
    return answers


async def test_no_process_writes_anything_of_a_person_or_a_secret(
    api: Api, stack: dict[str, Any], log_directory: Path
) -> None:
    tokens = await run_good_traffic(api)
    answers = await run_bad_traffic(api, tokens[0])
    metrics = ""
    async with aiohttp.ClientSession() as session:
        for service in ("catalog", "activity", "metering"):
            async with session.get(f"{stack[service]['ops_url']}/metrics") as response:
                metrics += await response.text()
    written = read_all(log_directory)
    assert {"catalog.log", "activity.log", "metering.log"} <= written.keys()
    assert all('"request"' in written[f"{service}.log"] for service in ("catalog", "activity", "metering"))
    secrets = [*tokens, *(token.split(".")[1] for token in tokens), *stack["service_keys"].values()]
    secrets += [client["client_secret"] for client in stack["clients"]]
    secrets += [urlsplit(dsn).password or "" for dsn in stack["postgres"]["dsn"].values()]
    for name, text in {**written, "metrics": metrics}.items():
        found = [value for value in (MARK, *secrets) if value and value in text]
        assert found == [], name
    # A name that is not ours may be named back to who sent it; a value may not.
    for answer in answers:
        for value in (f"{MARK}-", f"{MARK}@", "Traceback", "asyncpg", "aiohttp", *secrets):
            assert value.encode() not in answer, answer
