"""What operators see: readiness, metrics, logs, the published description."""

from collections.abc import Callable

from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from jsonschema import Draft202012Validator

from local_stack.ports import choose_free_port
from service_chassis.application import METRICS, READINESS
from service_chassis.operations.health import create_operations_app
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity
from tests.activity_service.database_proxy import DatabaseProxy


def operations(activity: Activity) -> web.Application:
    async def render_metrics() -> bytes:
        return activity.app[METRICS].render()

    return create_operations_app(activity.app[READINESS].find_not_ready, render_metrics)


async def test_it_is_ready_with_its_database_its_schema_and_the_issuers_keys(
    activity: Activity, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(operations(activity))
    assert (await client.get("/readyz")).status == 200
    assert (await client.get("/livez")).status == 200


async def test_it_names_what_is_not_ready_and_metering_is_none_of_it(
    start_activity: StartActivity, aiohttp_client: AiohttpClient, proxy: DatabaseProxy
) -> None:
    nowhere = f"http://127.0.0.1:{choose_free_port()}"
    activity = await start_activity(
        postgres_dsn=proxy.dsn, jwks_url=nowhere, metering_url=nowhere, metering_deadline_seconds=0.1
    )
    await proxy.stop()
    client = await aiohttp_client(operations(activity))
    async with client.get("/readyz") as response:
        assert response.status == 503
        assert set((await response.json())["notReady"]) == {
            *("postgres", "row_security", "sessions", "migrations", "signing_keys")
        }


async def test_it_is_not_ready_without_its_schema_and_starts_all_the_same(
    start_activity: StartActivity, aiohttp_client: AiohttpClient, empty_database: Callable[[], str]
) -> None:
    activity = await start_activity(postgres_dsn=empty_database())
    client = await aiohttp_client(operations(activity))
    async with client.get("/readyz") as response:
        assert (await response.json())["notReady"] == ["row_security", "migrations"]


async def test_metrics_name_what_this_service_counts(activity: Activity, aiohttp_client: AiohttpClient) -> None:
    await activity.create_play()
    await activity.settle_all()
    text = await (await (await aiohttp_client(operations(activity))).get("/metrics")).text()

    for name in (
        'activity_batch_items_count{work="create"} 1.0',
        'activity_settlements_total{outcome="settled"} 1.0',
        "activity_billable_events_unsettled 0.0",
        "activity_billable_events_parked 0.0",
        'activity_background_rounds_total{outcome="done",task="sweeper"} 1.0',
        'http_request_seconds_count{method="POST",route="/api/plan-plays",status="201"} 1.0',
    ):
        assert name in text


async def test_every_response_is_as_published(activity: Activity) -> None:
    document = (await activity.call("GET", "/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    play = await activity.create_play(userId="user-1", plannedLessons=["a"])
    url = f"/api/plan-plays/{play['id']}"
    activity.metering.refusal = {"code": "api_rate_limited", "retryAfterSeconds": 3}
    cases = [
        ("POST", "/api/plan-plays", {"planId": "p"}, 429),
        ("POST", "/api/plan-plays", {}, 400),
        ("GET", "/api/plan-plays", None, 200),
        ("GET", "/api/plan-plays?limit=1", None, 200),
        ("GET", "/api/plan-plays?limit=x", None, 400),
        ("GET", url, None, 200),
        ("GET", "/api/plan-plays/7", None, 404),
        ("PATCH", url, {"status": "paused"}, 200),
        ("PATCH", url, {"status": "ended"}, 429),
        ("PATCH", url, {"colour": "blue"}, 400),
    ]
    for method, path, body, status in cases:
        reply = await activity.call(method, path, json=body)
        assert reply.status == status, path
        template = path.split("?")[0].replace(play["id"], "{id}").replace("/7", "/{id}")
        published = document["paths"][template][method.lower()]["responses"][str(status)]
        schema = {**published["content"]["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(reply.json)
        required = {name for name, header in published["headers"].items() if header.get("required")}
        assert required <= set(reply.headers)


async def test_the_docs_page_is_served_without_a_token(activity: Activity) -> None:
    async with activity.client.get("/docs") as response:
        assert response.status == 200
        assert "openapi.json" in await response.text()
