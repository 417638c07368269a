"""The product's own documents, example by example, against a running stack. May be run again on the same one."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stack.api import Api

pytestmark = [pytest.mark.stack, pytest.mark.system]

NEW_PLAY = {"planId": "plan-abc-123", "userId": "user-1", "plannedLessons": ["lesson-1", "lesson-2"]}


async def create_play(api: Api, token: str, **fields: Any) -> dict[str, Any]:
    status, answer = await api.plays("POST", token, body={**NEW_PLAY, **fields})
    assert status == 201, answer
    play: dict[str, Any] = answer["data"]
    return play


async def test_a_client_gets_a_bearer_token_in_the_envelope(api: Api) -> None:
    user = {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com"}
    body = {"client_id": "demo", "client_secret": "demo-secret", "fingerprint": "f", "user": user}
    status, answer = await api.catalog("generate-client-auth-token", body)
    assert (status, answer["statusCode"], answer["message"]) == (200, 200, "OKAY")
    assert answer["data"]["token_type"] == "Bearer"
    assert answer["data"]["expires_in"] == 900
    assert len(answer["data"]["access_token"].split(".")) == 3


async def test_a_wrong_secret_and_an_unknown_client_get_the_same_answer(api: Api) -> None:
    wrong = {"client_id": "demo", "client_secret": "guess", "fingerprint": "f"}
    refusal = (401, {"statusCode": 401, "data": {}, "message": "Invalid client credentials"})
    assert await api.catalog("generate-client-auth-token", wrong) == refusal
    assert await api.catalog("generate-client-auth-token", wrong | {"client_id": "nobody"}) == refusal


async def test_plans_of_a_collection_and_none_for_an_unknown_one(api: Api) -> None:
    token = await api.token("demo")
    status, answer = await api.catalog("get-plans", {"collection_id": "collection-123"}, token)
    assert (status, answer["statusCode"], answer["message"]) == (200, 200, "OKAY")
    plans = {plan["plan_id"]: plan for plan in answer["data"]}
    # The API's source document has these two, to the letter.
    basic, premium = plans["plan-abc-123"], plans["plan-def-456"]
    assert {**basic, "plan_name": "Premium Plan"} == {
        **premium,
        "plan_id": "plan-abc-123",
        "description": "This is a basic plan",
        "color": "#FF5733",
        "created_at": "2024-01-15T10:30:00Z",
        "updated_at": "2024-01-15T10:30:00Z",
        "associated_documents": [],
    }
    assert (basic["plan_name"], premium["description"]) == ("Basic Plan", "This is a premium plan")
    assert (premium["color"], premium["created_at"]) == ("#33FF57", "2024-01-14T09:20:00Z")
    assert premium["updated_at"] == premium["created_at"]
    assert premium["associated_documents"] == [{"document_id": "doc-123", "document_name": "Plan Document 1"}]
    assert premium["associated_supplemental_benefits"] == []

    nothing = await api.catalog("get-plans", {"collection_id": "no-such"}, token)
    assert nothing == (200, {"statusCode": 200, "data": [], "message": "OKAY"})


async def test_details_of_a_plan_and_404_for_an_unknown_one(api: Api) -> None:
    token = await api.token("demo")
    status, answer = await api.catalog("get-plan-details", {"plan_id": "plan-abc-123"}, token)
    assert (status, answer["data"]["plan_name"]) == (200, "Basic Plan")
    status, answer = await api.catalog("get-plan-details", {"plan_id": "no-such"}, token)
    assert (status, answer["statusCode"], answer["data"]) == (404, 404, {})


@pytest.mark.parametrize("token", [None, "abc", "a.b.c"])
async def test_without_a_good_token_the_catalog_says_unauthorized(api: Api, token: str | None) -> None:
    refusal = (403, {"statusCode": 403, "data": {}, "message": "UNAUTHORIZED"})
    assert await api.catalog("get-plans", {}, token) == refusal


async def test_a_plan_is_synced_changed_and_deleted(api: Api) -> None:
    token = await api.token("demo-unlimited")
    fields = {"plan_name": "New", "description": "d", "collection_id": "collection-new", "color": "#000000"}
    status, answer = await api.catalog("sync-plan", fields, token)
    assert (status, answer["data"]["plan_name"]) == (200, "New")
    plan_id = answer["data"]["plan_id"]

    status, answer = await api.catalog("sync-plan", {"plan_id": plan_id, "color": "#ffffff"}, token)
    assert (status, answer["data"]["color"], answer["data"]["plan_name"]) == (200, "#ffffff", "New")

    deleted = (200, {"statusCode": 200, "data": {"plan_id": plan_id}, "message": "OKAY"})
    assert await api.catalog("sync-plan", {"plan_id": plan_id, "is_delete": True}, token) == deleted
    status, _ = await api.catalog("get-plan-details", {"plan_id": plan_id}, token)
    assert status == 404


async def test_a_play_is_created_listed_read_changed_and_completed(api: Api) -> None:
    token = await api.token("demo-unlimited")
    play = await create_play(api, token)
    assert (play["planId"], play["clientId"], play["userId"]) == ("plan-abc-123", "demo-unlimited", "user-1")
    assert (play["status"], play["currentLessonIndex"], play["completedAt"]) == ("active", 0, None)

    status, answer = await api.plays("GET", token, "?userId=user-1&status=active")
    assert (status, answer["count"]) == (200, len(answer["data"]))
    assert answer["data"][0]["id"] == play["id"]
    assert await api.plays("GET", token, f"/{play['id']}") == (200, {"data": play})

    status, answer = await api.plays("PATCH", token, f"/{play['id']}", {"currentLessonIndex": 1})
    assert (status, answer["data"]["currentLessonIndex"]) == (200, 1)
    status, answer = await api.plays("PATCH", token, f"/{play['id']}", {"status": "ended"})
    assert (status, answer["data"]["status"]) == (200, "ended")
    assert answer["data"]["completedAt"] is not None


async def test_no_match_is_an_empty_list_with_count_0(api: Api) -> None:
    token = await api.token("demo-unlimited")
    assert await api.plays("GET", token, "?planId=no-such") == (200, {"data": [], "count": 0})


async def test_an_unknown_play_is_not_found_and_another_clients_is_denied(api: Api) -> None:
    play = await create_play(api, await api.token("demo-unlimited"))
    other = await api.token("demo-rate")
    assert await api.plays("GET", other, f"/{play['id']}") == (403, {"error": "Access denied"})
    unknown = "/00000000-0000-7000-8000-000000000000"
    assert await api.plays("GET", other, unknown) == (404, {"error": "Plan play not found"})


async def test_a_client_with_the_permission_reads_another_clients_plays(api: Api) -> None:
    play = await create_play(api, await api.token("demo-unlimited"))
    path = "?clientId=demo-unlimited&limit=1"
    _, answer = await api.plays("GET", await api.token("demo-partner"), path)
    assert answer["data"][0]["id"] == play["id"]
    _, answer = await api.plays("GET", await api.token("demo-rate"), path)
    assert [play for play in answer["data"] if play["clientId"] != "demo-rate"] == []


async def test_the_same_idempotency_key_creates_one_play(api: Api) -> None:
    token = await api.token("demo-unlimited")
    key = {"Idempotency-Key": os.urandom(8).hex()}
    answers = await asyncio.gather(*(api.plays("POST", token, body=NEW_PLAY, **key) for _ in range(10)))
    assert answers == [answers[0]] * 10
    assert answers[0][0] == 201


@pytest.mark.parametrize("token", [None, "a.b.c"])
async def test_without_a_good_token_plays_are_401(api: Api, token: str | None) -> None:
    status, answer = await api.plays("GET", token)
    assert status == 401
    assert list(answer) == ["error"]


@pytest.mark.parametrize(
    ("client_id", "code", "wait"),
    [
        ("demo-rate", "api_rate_limited", range(1, 31)),
        ("demo-quota", "api_quota_exceeded", range(1, 31 * 24 * 3600 + 1)),
        # A number while the last of them are only held; their charges follow within moments.
        ("demo-credits", "api_balance_exhausted", [None, *range(1, 61)]),
    ],
)
async def test_each_gate_refuses_with_its_code_and_wait(
    api: Api, client_id: str, code: str, wait: Sequence[int | None]
) -> None:
    token = await api.token(client_id)
    for _ in range(6):  # more than any of the three lets through
        status, answer = await api.plays("POST", token, body=NEW_PLAY)
    assert (status, answer["code"]) == (429, code)
    assert answer["retryAfterSeconds"] in wait
    assert answer["error"]


async def test_the_ledger_shows_exactly_what_was_charged(api: Api) -> None:
    token = await api.token("demo")
    before = await api.metering("clients/demo/balance")
    play = await create_play(api, token)
    for _ in range(2):
        status, _ = await api.plays("PATCH", token, f"/{play['id']}", {"status": "ended"})
        assert status == 200
    after = await _settled_balance(api, before["spent"] + 2)
    assert after["available"] == before["available"] - 2
    created = await api.metering(f"events/plan_play.created:{play['id']}?clientId=demo")
    completed = await api.metering(f"events/plan_play.completed:{play['id']}?clientId=demo")
    assert (created["state"], completed["state"]) == ("settled", "settled")


async def _settled_balance(api: Api, spent: int) -> Any:
    """Read the balance until the relay has settled: charges follow the answer by a moment."""
    async with asyncio.timeout(10):
        while (balance := await api.metering("clients/demo/balance"))["spent"] < spent:
            pass
    return balance


async def test_what_the_pages_of_the_apis_send_as_it_stands_works_on_the_demo(api: Api) -> None:
    documents = {name: await api.document(name) for name in ("catalog", "activity")}

    def find_example(service: str, path: str, method: str = "post") -> Any:
        body = documents[service]["paths"][path][method]["requestBody"]
        return next(iter(body["content"]["application/json"]["examples"].values()))["value"]

    status, answer = await api.catalog(
        "generate-client-auth-token", find_example("catalog", "/generate-client-auth-token")
    )
    assert status == 200
    token = answer["data"]["access_token"]
    for path in ("/get-plans", "/get-plan-details", "/sync-plan"):
        status, answer = await api.catalog(path.removeprefix("/"), find_example("catalog", path), token)
        assert status == 200, (path, answer)
    await api.catalog("sync-plan", {"plan_id": answer["data"]["plan_id"], "is_delete": True}, token)
    status, answer = await api.plays("POST", token, body=find_example("activity", "/api/plan-plays"))
    assert status == 201, answer
    change = find_example("activity", "/api/plan-plays/{id}", "patch")
    status, answer = await api.plays("PATCH", token, f"/{answer['data']['id']}", change)
    assert status == 200, answer


def test_the_printed_tour_runs_as_it_is(log_directory: Path) -> None:
    tour = subprocess.run(
        ["bash", "-eu", "local_stack/tour.sh"],
        env={**os.environ, "STACK_DIR": str(log_directory.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert tour.stderr == ""
    for expected in ("Premium Plan", '"status":"ended"', "api_rate_limited", "api_quota_exceeded"):
        assert expected in tour.stdout
    assert "api_balance_exhausted" in tour.stdout
    ledger, balance = tour.stdout.partition("--- what was charged")[2].split("granted")
    assert ledger.split().count("spend") >= 2
    assert "available" in balance


async def test_administration_answers_at_the_addresses_and_to_the_keys_of_stack_json(api: Api) -> None:
    paths = {"catalog": "/admin/audit", "metering": "/internal/admin-audit"}
    assert api.stack["admin_keys"].keys() == paths.keys()
    for service, path in paths.items():
        for key, status in ((api.stack["admin_keys"][service], 200), (await api.token("demo"), 401)):
            headers = {"Authorization": f"Bearer {key}"}
            async with api.session.get(api.stack[service]["admin_url"] + path, headers=headers) as answer:
                assert answer.status == status
