"""A charge names the request that it is for, whoever tells metering of it: what was committed says so."""

from collections.abc import Mapping
from typing import Any

import pytest

from metering_client.relay import Relay
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"X-Request-ID": "follow-me", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
NONE_HELD = (200, b'{"events":[],"nextCursor":null}')


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch, activity: Activity) -> Activity:
    """Return an activity process that forgets what it has committed, as one does that dies."""
    monkeypatch.setattr(Relay, "remember", lambda self, event: None)
    return activity


def headers_of_settles(activity: Activity) -> list[Mapping[str, str]]:
    calls = zip(activity.metering.calls, activity.metering.headers, strict=True)
    return [headers for (call, _), headers in calls if call == "settle"]


async def change(activity: Activity, method: str, path: str, body: Any) -> None:
    assert (await activity.call(method, f"/api/plan-plays{path}", json=body, headers=HEADERS)).status < 300


@pytest.mark.parametrize("is_ended", [False, True])
async def test_a_charge_that_another_process_settles_names_its_request_and_trace(
    forgetful: Activity, start_activity: StartActivity, is_ended: bool
) -> None:
    forgetful.metering.says["list_held"] = NONE_HELD  # it is not old yet
    if is_ended:
        play = await forgetful.create_play()
        await forgetful.pool.execute("DELETE FROM billable_event")
        await change(forgetful, "PATCH", f"/{play['id']}", {"status": "ended"})
    else:
        await change(forgetful, "POST", "", {"planId": "plan-1"})
    await forgetful.pool.execute("UPDATE billable_event SET next_attempt_at = utc_now()")
    other = await start_activity()
    await other.components.billing.relay.settle_due()
    [headers] = headers_of_settles(forgetful)
    assert (headers["X-Request-ID"], headers["traceparent"][3:35]) == ("follow-me", TRACE)


async def test_a_charge_that_the_sweeper_finds_names_its_request_and_trace(forgetful: Activity) -> None:
    await change(forgetful, "POST", "", {"planId": "plan-1"})
    await forgetful.sweep()
    [headers] = headers_of_settles(forgetful)
    assert (headers["X-Request-ID"], headers["traceparent"][3:35]) == ("follow-me", TRACE)
