"""What the OpenAPI documents show is right as it stands, on a stack with the demo's data: calls to paste, bodies."""

import asyncio
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.openapi.documents import JSON, list_operations, publish
from tests.stack.api import Api

pytestmark = [pytest.mark.stack, pytest.mark.system]

PORTS = {"catalog": 8081, "activity": 8082, "metering": 8083}
TIMEOUT_SECONDS = 60.0


@pytest.fixture
async def keys(api: Api, stack: dict[str, Any]) -> dict[str, str]:
    """Return what opens each document's calls. The partner's plans may change: nobody else looks at them."""
    token = await api.token("demo-partner")
    admin = stack["admin_keys"]
    return {
        "catalog": token,
        "activity": token,
        "metering": stack["service_keys"]["llm"],
        "catalog_admin": admin["catalog"],
        "metering_admin": admin["metering"],
    }


@pytest.mark.parametrize("service", PORTS)
async def test_the_calls_of_a_description_run_as_they_are_printed(
    service: str, api: Api, stack: dict[str, Any], keys: dict[str, str]
) -> None:
    [script] = re.findall(r"```sh\n(.+?)```", publish()[service]["info"]["description"], re.DOTALL)
    assert f"localhost:{PORTS[service]}" in script
    script = script.replace(f"localhost:{PORTS[service]}", stack[service]["url"])
    environment = {**os.environ, "no_proxy": "127.0.0.1", "TOKEN": keys[service], "KEY": keys[service]}
    bash = await asyncio.create_subprocess_exec("bash", "-euc", script, env=environment, stdout=subprocess.PIPE)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        answered, _ = await bash.communicate()
    assert bash.returncode == 0
    if service == "metering":
        [decision] = orjson.loads(answered)["decisions"]
        assert decision["decision"] == "granted", decision
        held = {"clientId": "acme", "holdId": decision["holdId"], "eventId": decision["eventId"]}
        await send(api, stack, "metering", "post", "/internal/events/release", {"events": [held]}, keys["metering"])
    else:
        assert re.findall(rb'"(?:error|statusCode)":(?!200)', answered) == []


@pytest.mark.parametrize("document", publish())
async def test_no_body_of_an_example_is_refused_as_wrong(
    document: str, api: Api, stack: dict[str, Any], keys: dict[str, str]
) -> None:
    client = f"example-{secrets.token_hex(4)}"
    if document == "metering_admin":
        assigned = {"policyId": "demo", "create": True}
        await send(api, stack, document, "put", f"/internal/clients/{client}/policy", assigned, keys[document])
    sent = 0
    for method, path, example in list_bodies(document):
        place = path.replace("{clientId}", client)
        place = re.sub(r"{(id|noticeId)}", "01a203fe-6df1-76d1-8aea-479bb05adae2", place)
        place = re.sub(r"{\w+}", "acme", place)
        if document == "metering":
            # Charged for nobody's play: not the demo's, whose plays and charges other tests compare.
            words = orjson.dumps(example).replace(b"plan_play.", b"example.").replace(b'"demo"', orjson.dumps(client))
            example = orjson.loads(words)
        status, answer = await send(api, stack, document, method, place, example, keys[document])
        assert status not in (400, 403, 500), (method, path, example, answer)
        if "/events/" in path:
            [outcome] = next(iter(answer.values()))
            assert "invalid" not in (outcome.get("decision"), outcome.get("state")), (path, example, answer)
        sent += 1
    assert sent


def list_bodies(document: str) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and body of each example; what is of operators in metering_admin's document alone."""
    for method, path, operation in list_operations(publish()[document]):
        if "requestBody" in operation and (document != "metering" or path.startswith("/internal/events/")):
            for example in operation["requestBody"]["content"][JSON]["examples"].values():
                yield method, path, example["value"]


async def send(
    api: Api, stack: dict[str, Any], document: str, method: str, path: str, body: Any, key: str
) -> tuple[int, Any]:
    """Send one request; return status and document of its answer."""
    service, is_admin = document.removesuffix("_admin"), document.endswith("_admin")
    url = stack[service]["admin_url" if is_admin else "url"]
    headers = {"Authorization": f"Bearer {key}"}
    async with api.session.request(method, url + path, json=body, headers=headers) as response:
        return response.status, await response.json()
