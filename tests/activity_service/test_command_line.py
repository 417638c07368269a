"""The operators' command line."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpServer

from activity_service.components import SCHEMA
from local_stack.ports import choose_free_port
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import Run
from tests.activity_service.test_relay import insert_happened


def test_migrate_makes_the_schema_and_may_be_repeated(empty_database: Callable[[], str], run: Run) -> None:
    dsn = empty_database()

    functions = [f"{name} (function)" for name in ("act_for", "billable_fact_exists", "plan_play_exists", "utc_now")]
    applied = [*sorted(SCHEMA.migrations), *functions]
    assert json.loads(run(dsn, "migrate", "--json")[1]) == {"applied": applied}
    assert run(dsn, "migrate") == (0, "nothing to apply\n", "")


async def test_billing_tells_what_is_parked_and_drives_it_again(
    activity: Activity, activity_dsn: str, run: Run
) -> None:
    await insert_happened(activity, 3)
    activity.metering.poisoned.add("plan_play.created:2")
    await activity.settle_all()

    async def billing(*arguments: str) -> str:
        code, output, _ = await asyncio.to_thread(run, activity_dsn, "billing", *arguments)
        assert code == 0
        return output

    status: Any = json.loads(await billing("status", "--json"))
    assert status == {"unsettled": 0, "oldestUnsettledSeconds": None, "parked": 1, "metering": "not asked"}
    [event] = json.loads(await billing("parked", "--json"))
    assert (event["eventId"], event["lastError"]) == ("plan_play.created:2", "state conflict")
    assert event["holdId"] in await billing("parked")
    stranger = "0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11"
    code, _, said = await asyncio.to_thread(run, activity_dsn, "billing", "redrive", event["holdId"], stranger)
    assert (code, said.strip()) == (
        1,
        f"activity_service: no event is parked with the hold {stranger}; nothing was sent again",
    )
    assert json.loads(await billing("status", "--json"))["parked"] == 1
    activity.metering.poisoned.clear()
    assert json.loads(await billing("redrive", event["holdId"], "--json")) == {"redriven": 1}
    assert json.loads(await billing("status", "--json"))["unsettled"] == 1
    await activity.settle_all()
    assert activity.metering.charges["plan_play.created:2"] == 1
    assert await billing("parked") == "none\n"
    assert json.loads(await billing("redrive", "--json")) == {"redriven": 0}
    _, trail, _ = await asyncio.to_thread(run, activity_dsn, "admin-audit", "--json")
    lines = [(line["actor"], line["action"], line["target"], line["detail"]) for line in json.loads(trail)]
    assert lines == [("command line", "redrive", "client-a", {"events": 1})]


def test_an_operators_error_is_one_line_and_exit_code_1(run: Run) -> None:
    nowhere = f"postgresql://nobody:secret@127.0.0.1:{choose_free_port()}/none"
    for dsn, arguments, expected in (
        (None, ["migrate"], "ACTIVITY_POSTGRES_DSN"),
        (None, ["serve"], "ACTIVITY_POSTGRES_DSN"),
        (nowhere, ["migrate"], "cannot be reached"),
        (nowhere, ["billing", "status"], "cannot be reached"),
    ):
        code, output, error = run(dsn, *arguments)
        assert (code, output) == (1, ""), arguments
        assert expected in error
        assert "secret" not in error
        assert dsn is None or len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\n", "must not be empty"),
        (b"\xef\xbb\xbf\r\n", "must not be empty"),
        (b"marked\nmarked\n", "must be one line without control characters"),
        (b"marked\xff", "must hold text in UTF-8"),
        ("marked".encode("utf-16"), "must hold text in UTF-8, and is UTF-16"),
    ],
)
def test_a_key_file_that_holds_no_key_is_named_and_not_quoted(
    activity_dsn: str, run: Run, tmp_path: Path, content: bytes, fault: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    options = ("--metering-url", "http://127.0.0.1:1", "--metering-key-file", str(file))
    for command in (("audit",), ("billing", "recharge")):
        assert run(activity_dsn, *command, *options) == (3, "", f"activity_service: no verdict: {file}: {fault}\n")


@pytest.mark.parametrize("content", ["key", "key\n", "\ufeffkey\r\n"])
async def test_a_key_file_is_read_however_it_was_made(
    activity_dsn: str, run: Run, tmp_path: Path, aiohttp_server: AiohttpServer, content: str
) -> None:
    asked: list[str] = []

    async def list_charges(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return web.json_response({"charges": [], "nextCursor": None})

    app = web.Application()
    app.router.add_get("/internal/charges", list_charges)
    server = await aiohttp_server(app)
    file = tmp_path / "key"
    file.write_text(content, newline="")
    options = ("--metering-url", str(server.make_url("/")), "--metering-key-file", str(file))
    code, _, said = await asyncio.to_thread(run, activity_dsn, "audit", *options)
    assert (code, asked) == (0, ["Bearer key"]), said


def test_bad_usage_is_exit_code_2_and_help_helps(run: Run) -> None:
    assert run(None, "fly")[0] == 2
    assert run(None, "billing", "redrive", "not-an-id")[0] == 2
    assert "redrive" in run(None, "billing", "--help")[1]
