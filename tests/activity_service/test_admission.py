"""Too much at once: refused at once, with nothing asked and nothing stored, and what was taken on is finished."""

import asyncio

import pytest

from activity_service.errors import Overloaded
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import LEAST_LIMIT, SLOW_SECONDS, Admission
from service_chassis.application import READINESS
from service_chassis.operations.metrics import Metrics
from tests.activity_service.activity import Activity, until
from tests.activity_service.conftest import StartActivity
from tests.activity_service.metering_double import Gate

REFUSED = {"error": "Too many requests under way"}


async def fill(activity: Activity, client: str = "client-a", count: int = 1) -> "list[asyncio.Task[object]]":
    """Put creates under way, held up where metering has decided and not answered."""
    gate = activity.metering.answered["authorize"]
    gate.close()
    token = activity.issuer.issue(client)
    under_way: list[asyncio.Task[object]] = [asyncio.create_task(activity.create(token=token)) for _ in range(count)]
    admission = activity.components.admission
    async with asyncio.timeout(10):
        while admission._under_way < count:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        await gate.reached.wait()
    return under_way


async def test_requests_beyond_the_limit_are_refused_at_once_and_leave_nothing(start_activity: StartActivity) -> None:
    activity = await start_activity(requests_under_way_limit=1, metering_deadline_seconds=30)
    play = await activity.create_play()
    [under_way] = await fill(activity)
    asked = len(activity.metering.events_of("authorize"))
    for reply in (
        await activity.create(key="k"),
        await activity.update(play["id"], status="ended"),
        await activity.update(play["id"], currentLessonIndex=1),
        await activity.read(play["id"]),
        await activity.list_plays(limit=1),
        await activity.list_plays(),
    ):
        assert (reply.status, reply.json, reply.headers["Retry-After"]) == (503, REFUSED, "1")
    assert len(activity.metering.events_of("authorize")) == asked
    assert activity.metric("activity_overload_refusals_total") == 6
    activity.metering.open_all()
    assert (await under_way).status == 201  # type: ignore[attr-defined]
    assert (await activity.read(play["id"])).play == play
    assert (await activity.create(key="k")).status == 201, "the refusal is not remembered, and the place is free"


async def test_another_client_gets_its_answer_while_one_has_all_places_and_wants_more(
    start_activity: StartActivity,
) -> None:
    activity = await start_activity(requests_under_way_limit=4, metering_deadline_seconds=30)
    first = activity.metering.answered["authorize"]
    under_way = await fill(activity, count=4)
    token = activity.issuer.issue("client-b")
    waiting = asyncio.create_task(activity.list_plays(token=token))
    admission = activity.components.admission
    async with asyncio.timeout(10):
        while not admission._waiting:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
    assert (await activity.list_plays()).status == 503, "it has more than its share, and another waits"
    activity.metering.answered["authorize"] = Gate()
    first.open()
    assert (await waiting).status == 200
    await asyncio.gather(*under_way)
    assert (await activity.list_plays()).status == 200


async def test_a_client_whose_calls_wait_leaves_connections_to_the_others(start_activity: StartActivity) -> None:
    activity = await start_activity(postgres_pool_size=4)
    play = await activity.create_play()
    token = activity.issuer.issue("client-b")
    turns = activity.components.pool.turns
    async with activity.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM plan_play FOR UPDATE")
        waiting = [asyncio.create_task(activity.update(play["id"], currentLessonIndex=n)) for n in range(20)]
        await until(lambda: turns.taken == 3)
        assert [(await activity.list_plays(limit=1, token=token)).status for _ in range(20)] == [200] * 20
        assert turns.taken == 3
    assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * 20
    assert turns.taken == 0


async def test_place_is_free_again_after_every_end(start_activity: StartActivity) -> None:
    activity = await start_activity(requests_under_way_limit=1)
    activity.metering.refusal = {"code": "api_balance_exhausted", "retryAfterSeconds": None}
    assert (await activity.create()).status == 429
    activity.metering.refusal = None
    activity.metering.says["authorize"] = (500, b"{}")
    assert (await activity.create()).status == 500
    activity.metering.says.clear()
    assert (await activity.create()).status == 201


async def test_a_process_is_ready_while_requests_have_every_connection(start_activity: StartActivity) -> None:
    activity = await start_activity(postgres_pool_size=2)
    pool = activity.components.pool
    async with pool.acquire(), pool.acquire():
        assert await activity.app[READINESS].find_not_ready() == []


class Places:
    """Places of many clients in one admission, by the test's own clock."""

    def __init__(self, limit: int) -> None:
        self.clock = 0.0
        self.admission = Admission(limit, ActivityMetrics(Metrics()), now=lambda: self.clock)

    async def take(self, number: int) -> list[tuple[str, float]]:
        """Take a place for each of so many clients."""
        clients = [f"client-{n}" for n in range(number)]
        return [(client, await self.admission.enter(client)) for client in clients]

    def leave(self, places: list[tuple[str, float]]) -> None:
        for client, began in places:
            self.admission.leave(client, began)

    async def room(self) -> int:
        """How many more are taken on."""
        taken: list[tuple[str, float]] = []
        try:
            while True:
                taken.append((f"one-{len(taken)}", await self.admission.enter(f"one-{len(taken)}")))
        except Overloaded:
            self.leave(taken)
        return len(taken)


async def test_slow_ones_halve_the_bound_once_for_all_that_were_under_way_together() -> None:
    places = Places(200)
    taken = await places.take(200)
    places.clock += SLOW_SECONDS + 0.01
    places.leave(taken)
    assert await places.room() == 100


async def test_bound_never_falls_below_what_is_needed_to_see_that_all_is_well_again() -> None:
    places = Places(200)
    for _ in range(10):
        taken = await places.take(1)
        places.clock += SLOW_SECONDS + 0.01
        places.leave(taken)
    places.leave(await places.take(LEAST_LIMIT))
    for _ in range(200):
        places.leave(await places.take(1))
    assert await places.room() == 200, "quick ones raise it to where it was, and no further"


async def test_whoever_waits_for_a_place_in_vain_is_refused_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activity_service.plays.admission.WAIT_SECONDS", 0.05)
    places = Places(2)
    hog = [("hog", await places.admission.enter("hog")) for _ in range(2)]
    with pytest.raises(Overloaded):
        await places.admission.enter("other")
    with pytest.raises(Overloaded):
        await places.admission.enter("hog")
    places.leave(hog)
    assert await places.room() == 2
