"""The operators' command line."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from activity_service.components import SCHEMA
from local_stack.ports import choose_free_port
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import Run
from tests.activity_service.test_relay import insert_happened


def test_migrate_makes_the_schema_and_may_be_repeated(empty_database: Callable[[], str], run: Run) -> None:
    dsn = empty_database()

    functions = [f"{name} (function)" for name in ("billable_fact_exists", "plan_play_exists", "utc_now")]
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
    assert json.loads(await billing("redrive", stranger, "--json")) == {"redriven": 0}
    activity.metering.poisoned.clear()
    assert json.loads(await billing("redrive", event["holdId"], "--json")) == {"redriven": 1}
    assert json.loads(await billing("status", "--json"))["unsettled"] == 1
    await activity.settle_all()
    assert activity.metering.charges["plan_play.created:2"] == 1
    assert await billing("parked") == "none\n"


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


def test_bad_usage_is_exit_code_2_and_help_helps(run: Run) -> None:
    assert run(None, "fly")[0] == 2
    assert run(None, "billing", "redrive", "not-an-id")[0] == 2
    assert "redrive" in run(None, "billing", "--help")[1]
