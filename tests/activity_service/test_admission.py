"""Too much at once: refused at once, with nothing asked and nothing stored, and what was taken on is finished."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

import pytest

from activity_service.errors import Overloaded
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import LEAST_LIMIT, SLOW_SECONDS, Admission
from service_chassis.operations.metrics import Metrics
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import StartActivity

REFUSED = {"error": "Too many requests under way"}


async def fill(activity: Activity) -> "asyncio.Task[object]":
    """Put one create under way, held up where metering has decided and not answered."""
    gate = activity.metering.answered["authorize"]
    gate.close()
    under_way = asyncio.create_task(activity.create())
    async with asyncio.timeout(10):
        await gate.reached.wait()
    return under_way


async def test_create_beyond_the_limit_is_refused_at_once_and_leaves_nothing(start_activity: StartActivity) -> None:
    activity = await start_activity(requests_under_way_limit=1, metering_deadline_seconds=30)
    under_way = await fill(activity)
    reply = await activity.create(key="k")
    assert (reply.status, reply.json, reply.headers["Retry-After"]) == (503, REFUSED, "1")
    assert len(activity.metering.events_of("authorize")) == 1
    assert activity.metric("activity_overload_refusals_total") == 1
    activity.metering.open_all()
    assert (await under_way).status == 201  # type: ignore[attr-defined]
    assert len(await activity.rows("plan_play")) == 1
    assert (await activity.create(key="k")).status == 201, "the refusal is not remembered, and the place is free"


async def test_completion_beyond_the_limit_is_refused_and_leaves_the_play(start_activity: StartActivity) -> None:
    activity = await start_activity(requests_under_way_limit=1, metering_deadline_seconds=30)
    play = await activity.create_play()
    under_way = await fill(activity)
    reply = await activity.update(play["id"], status="ended")
    assert (reply.status, reply.json) == (503, REFUSED)
    assert (await activity.read(play["id"])).play == play
    assert (await activity.update(play["id"], currentLessonIndex=1)).status == 200, "what is not billed goes on"
    activity.metering.open_all()
    await under_way
    assert (await activity.update(play["id"], status="ended")).status == 200


async def test_place_is_free_again_after_every_end(start_activity: StartActivity) -> None:
    activity = await start_activity(requests_under_way_limit=1)
    activity.metering.refusal = {"code": "api_balance_exhausted", "retryAfterSeconds": None}
    assert (await activity.create()).status == 429
    activity.metering.refusal = None
    activity.metering.says["authorize"] = (500, b"{}")
    assert (await activity.create()).status == 500
    activity.metering.says.clear()
    assert (await activity.create()).status == 201


def take(admission: Admission, number: int) -> Sequence[AbstractContextManager[None]]:
    places = [admission.take_place() for _ in range(number)]
    for place in places:
        place.__enter__()
    return places


def leave(places: Sequence[AbstractContextManager[None]]) -> None:
    for place in places:
        place.__exit__(None, None, None)


def room(admission: Admission) -> int:
    """How many more are taken on."""
    places: list[AbstractContextManager[None]] = []
    with suppress(Overloaded):
        while True:
            places.extend(take(admission, 1))
    leave(places)
    return len(places)


def test_slow_ones_halve_the_bound_once_for_all_that_were_under_way_together() -> None:
    clock = [0.0]
    admission = Admission(200, ActivityMetrics(Metrics()), now=lambda: clock[0])
    places = take(admission, 200)
    clock[0] += SLOW_SECONDS + 0.01
    leave(places)
    with pytest.raises(Overloaded):
        take(admission, 101)


def test_bound_never_falls_below_what_is_needed_to_see_that_all_is_well_again() -> None:
    clock = [0.0]
    admission = Admission(200, ActivityMetrics(Metrics()), now=lambda: clock[0])
    for _ in range(10):
        places = take(admission, 1)
        clock[0] += SLOW_SECONDS + 0.01
        leave(places)
    leave(take(admission, LEAST_LIMIT))
    for _ in range(200):
        leave(take(admission, 1))
    assert room(admission) == 200, "quick ones raise it to where it was, and no further"
