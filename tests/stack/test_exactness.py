"""Nothing is sold twice, nothing is charged twice, and nothing is lost: on real processes, two of each.

Long because each promise of exactness is tried on real processes.
"""

import asyncio
import collections
import io
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from tests.stack.customer import PAID, REST_TIMEOUT_SECONDS, Customer, MakeCustomer, make_customer
from tests.stack.two_of_each import ServiceProcess, second_activity, second_metering

pytestmark = pytest.mark.system


@pytest.fixture(scope="session")
def two_of_each(
    stack: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Run a second metering and a second activity that calls it."""
    directory = tmp_path_factory.mktemp("two")
    with (
        second_metering(stack, directory) as metering,
        second_activity(stack, directory, metering.url) as activity,
    ):
        yield metering, activity


@pytest.fixture
async def customer(
    stack: dict[str, Any], two_of_each: tuple[ServiceProcess, ServiceProcess]
) -> AsyncIterator[MakeCustomer]:
    """Return a maker of customers with `terms`, a policy, and `grant` credits."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def make(grant: int = 0, **terms: Any) -> Customer:
            urls = [stack["activity"]["url"], two_of_each[1].url]
            return await make_customer(stack, session, urls, grant=grant, **terms)

        yield make


async def test_200_parallel_creates_on_a_balance_of_100_sell_exactly_100(customer: MakeCustomer) -> None:
    made = await customer(grant=100, **PAID)
    answers = await asyncio.gather(*(made.play("POST", body={"planId": "p"}, through=n) for n in range(200)))
    statuses = collections.Counter(status for status, _, _ in answers)
    assert statuses == {201: 100, 429: 100}
    refusals = [json.loads(body) for status, body, _ in answers if status == 429]
    assert {one["code"] for one in refusals} == {"api_balance_exhausted"}
    # A number where the credits were only held yet, when their holds are resolved at the latest; null once spent.
    waits = [one["retryAfterSeconds"] for one in refusals]
    assert all(wait is None or 1 <= wait <= 60 for wait in waits)
    sent = [headers.get("Retry-After") for status, _, headers in answers if status == 429]
    assert sent == [None if wait is None else str(wait) for wait in waits]
    created = {f"plan_play.created:{json.loads(body)['data']['id']}" for status, body, _ in answers if status == 201}
    charges = await made.charges()
    assert len(charges) == 100
    assert set(charges) == created
    assert await made.count_plays() == 100
    balance = await made.balance()
    assert {name: balance[name] for name in ("granted", "spent", "held", "available")} == {
        "granted": 100,
        "spent": 100,
        "held": 0,
        "available": 0,
    }


async def test_200_parallel_creates_on_a_quota_of_100_pass_exactly_100(customer: MakeCustomer) -> None:
    made = await customer(prices={"*": 0}, quotas=[{"name": "q", "limit": 100, "period": "month"}])
    answers = await asyncio.gather(*(made.play("POST", body={"planId": "p"}, through=n) for n in range(200)))
    assert collections.Counter(status for status, _, _ in answers) == {201: 100, 429: 100}
    for status, body, headers in answers:
        if status == 429:
            refusal = json.loads(body)
            assert refusal["code"] == "api_quota_exceeded"
            assert headers["Retry-After"] == str(refusal["retryAfterSeconds"])
    assert len(await made.charges()) == 100
    assert await made.count_plays() == 100


async def test_50_parallel_first_completions_are_charged_once(customer: MakeCustomer) -> None:
    made = await customer(grant=100, **PAID)
    _, body, _ = await made.play("POST", body={"planId": "p"})
    play_id = json.loads(body)["data"]["id"]
    answers = await asyncio.gather(
        *(made.play("PATCH", f"/{play_id}", {"status": "ended"}, through=n) for n in range(50))
    )
    assert {status for status, _, _ in answers} == {200}
    for status in ("active", "ended"):
        assert (await made.play("PATCH", f"/{play_id}", {"status": status}))[0] == 200
    assert sorted(await made.charges()) == [f"plan_play.completed:{play_id}", f"plan_play.created:{play_id}"]


async def test_50_parallel_creates_with_one_key_make_one_play_and_one_answer(customer: MakeCustomer) -> None:
    made = await customer(grant=100, **PAID)
    body = {"planId": "p", "plannedLessons": ["one", "two"], "displayName": "Zoë"}
    answers = await asyncio.gather(
        *(made.play("POST", body=body, through=n, idempotency_key="same") for n in range(50))
    )
    assert {status for status, _, _ in answers} == {201}
    assert len({raw for _, raw, _ in answers}) == 1
    assert sum("Idempotency-Replayed" not in headers for _, _, headers in answers) == 1
    assert len(await made.charges()) == 1
    assert await made.count_plays() == 1
    status, raw, _ = await made.play("POST", body={**body, "planId": "q"}, idempotency_key="same")
    assert (status, json.loads(raw)["details"][0]["field"]) == (400, "Idempotency-Key")


async def test_a_refused_completion_leaves_the_play_byte_for_byte(customer: MakeCustomer) -> None:
    made = await customer(grant=1, **PAID)
    _, body, _ = await made.play("POST", body={"planId": "p"})
    path = f"/{json.loads(body)['data']['id']}"
    before = (await made.play("GET", path))[1]
    status, refusal, _ = await made.play("PATCH", path, {"status": "ended", "currentLessonIndex": 3})
    assert (status, json.loads(refusal)["code"]) == (429, "api_balance_exhausted")
    assert (await made.play("GET", path))[1] == before


async def test_frozen_metering_costs_a_bounded_500_and_nothing_else(
    customer: MakeCustomer, two_of_each: tuple[ServiceProcess, ServiceProcess]
) -> None:
    made = await customer(grant=100, **PAID)
    made.activity_urls = [two_of_each[1].url]
    pid = two_of_each[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = await asyncio.gather(*(made.play("POST", body={"planId": "p"}) for _ in range(20)))
        took = time.monotonic() - began
        assert {status for status, _, _ in answers} == {500}
        assert took < 3
        assert await made.count_plays() == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    status, _, _ = await made.play("POST", body={"planId": "p"})
    assert status == 201
    charged = 0
    deadline = time.monotonic() + REST_TIMEOUT_SECONDS
    while charged != 1:  # what was held for the 20, who all got 500, the sweeper gives back; only the one is charged
        assert time.monotonic() < deadline
        charged = (await made.balance())["spent"]
        await asyncio.sleep(0.05)
    assert await made.count_plays() == 1


async def test_killed_after_its_commit_the_charge_still_arrives(
    customer: MakeCustomer, stack: dict[str, Any], two_of_each: tuple[ServiceProcess, ServiceProcess], tmp_path: Path
) -> None:
    made = await customer(grant=10, **PAID)
    with second_activity(stack, tmp_path, two_of_each[0].url) as activity:
        made.activity_urls = [activity.url]
        # The play is committed and nobody can charge it: the ledger is locked until activity is dead.
        with psycopg.connect(stack["postgres"]["dsn"]["metering"]) as ledger:
            ledger.execute("LOCK TABLE ledger_entry IN SHARE MODE")
            assert (await made.play("POST", body={"planId": "p"}))[0] == 201
            activity.kill()
            # The stack's other activity process shares the outbox: what it has sent is cut off as well.
            ledger.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE '%settle_events%' AND pid <> pg_backend_pid()"
            )
        await asyncio.to_thread(activity.restart)
        assert len(await made.charges()) == 1
        assert (await made.balance())["spent"] == 1


HOSTILE = {
    "not JSON": b"{",
    "not UTF-8": b'{"planId": "\xff"}',
    "NaN": b'{"planId": NaN}',
    "a lone surrogate": b'{"planId": "\\ud800"}',
    "NUL": b'{"planId": "a\\u0000b"}',
    "a raw control character": b'{"planId": "a\x01b"}',
    "a repeated name": b'{"planId": "a", "planId": "b"}',
    "a huge integer": b'{"planId": ' + b"9" * 5000 + b"}",
    "a number beyond a double": b'{"planId": 1e999}',
    "20,000 levels": b'{"planId":' + b"[" * 20_000,
    "an array": b"[]",
    "a wrong type": b'{"planId": {}, "plan_id": {}, "client_id": [], "collection_id": 7}',
    "10 MB": b'{"planId": "' + b"x" * 10_000_000 + b'"}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bodies_are_refused_in_each_apis_own_shape(
    stack: dict[str, Any], customer_of_demo: Customer, name: str
) -> None:
    made = customer_of_demo
    before = await made.count_plays()
    calls = [
        ("POST", f"{stack['activity']['url']}/api/plan-plays", {"error"}),
        ("PATCH", f"{stack['activity']['url']}/api/plan-plays/{uuid.uuid4()}", {"error"}),
        ("POST", f"{stack['catalog']['url']}/generate-client-auth-token", {"statusCode", "data", "message"}),
        ("POST", f"{stack['catalog']['url']}/get-plan-details", {"statusCode", "data", "message"}),
        ("POST", f"{stack['catalog']['url']}/sync-plan", {"statusCode", "data", "message"}),
    ]
    for method, url, shape in calls:
        async with made.session.request(
            method,
            url,
            data=io.BytesIO(HOSTILE[name]),
            headers={"Authorization": f"Bearer {made.token}", "Content-Type": "application/json"},
        ) as response:
            document = await response.json()
            assert 400 <= response.status < 500, (url, response.status)
            assert shape <= set(document), (url, document)
        async with made.session.request(
            method,
            url,
            data=io.BytesIO(HOSTILE[name]),
            headers={"Authorization": f"Bearer {made.token}", "Content-Type": "text/xml"},
        ) as response:
            assert response.status in (400, 404, 413, 415), (url, response.status)
    assert await made.count_plays() == before


@pytest.fixture
async def customer_of_demo(stack: dict[str, Any]) -> AsyncIterator[Customer]:
    """Return a customer with the demo's unlimited client."""
    async with aiohttp.ClientSession() as session:
        credentials = {
            "client_id": "demo-unlimited",
            "client_secret": "demo-unlimited-secret",
            "fingerprint": "test",
        }
        async with session.post(
            f"{stack['catalog']['url']}/generate-client-auth-token", json=credentials
        ) as response:
            token = (await response.json())["data"]["access_token"]
        yield Customer("demo-unlimited", token, stack, session, [stack["activity"]["url"]])
