"""Callers share batches: one in flight, nobody waits for a timer, one bad item hurts nobody else."""

import asyncio
import traceback
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from service_chassis.batching import Batcher


class Work:
    """Answers each number's double; holds each batch until it is let go, raises or refuses on demand."""

    def __init__(self, most_in_flight: int = 1) -> None:
        self.most_in_flight = most_in_flight
        self.batches: list[list[int]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.refuse: set[int] = set()
        self.fail_with: type[Exception] | None = None
        self.in_flight = 0

    async def __call__(self, items: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(items)
        self.in_flight += 1
        assert self.in_flight <= self.most_in_flight
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.in_flight -= 1
        if self.fail_with and self.refuse & set(items):
            raise self.fail_with
        return [ValueError(item) if item in self.refuse else item * 2 for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


async def hold_first(work: Work, batcher: Batcher[int, int]) -> asyncio.Future[int]:
    """Start a batch of one that is held until `work.go` is set."""
    work.go.clear()
    first = asyncio.ensure_future(batcher.submit(0))
    await work.began.wait()
    return first


async def submit(batcher: Batcher[int, int], items: Sequence[int]) -> list[asyncio.Future[int]]:
    tasks = [asyncio.ensure_future(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)  # let each of them get in line
    return tasks


async def test_a_lone_item_goes_at_once(work: Work) -> None:
    assert await Batcher(work).submit(21) == 42
    assert work.batches == [[21]]


async def test_whoever_arrives_meanwhile_is_in_the_next_batch(work: Work) -> None:
    sizes: list[int] = []
    batcher = Batcher(work, observe_size=sizes.append)
    first = await hold_first(work, batcher)
    others = await submit(batcher, range(1, 10))
    work.go.set()
    assert await asyncio.gather(first, *others) == [item * 2 for item in range(10)]
    assert work.batches == [[0], list(range(1, 10))]
    assert sizes == [1, 9]


async def test_no_batch_is_larger_than_allowed(work: Work) -> None:
    assert await Batcher(work, max_size=4).submit_all(range(10)) == [item * 2 for item in range(10)]
    assert [len(batch) for batch in work.batches] == [4, 4, 2]


async def test_what_is_submitted_together_stays_together(work: Work) -> None:
    batcher = Batcher(work, max_size=4)
    first = await hold_first(work, batcher)
    others = [asyncio.create_task(batcher.submit_all(items)) for items in ([1, 2, 3], [4, 5], [6])]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*others) == [[2, 4, 6], [8, 10], [12]]
    assert await first == 0
    assert work.batches == [[0], [1, 2, 3], [4, 5, 6]]


async def test_a_second_batch_may_be_in_flight_but_no_third() -> None:
    work = Work(most_in_flight=2)
    batcher = Batcher(work, in_flight=2)
    first = await hold_first(work, batcher)
    second = (await submit(batcher, [1]))[0]
    await asyncio.sleep(0)
    others = await submit(batcher, [2, 3])
    await asyncio.sleep(0)
    assert work.batches == [[0], [1]]
    work.go.set()
    assert await asyncio.gather(first, second, *others) == [0, 2, 4, 6]
    assert work.batches == [[0], [1], [2, 3]]


async def test_two_batches_in_flight_share_the_callers_there_are() -> None:
    work = Work(most_in_flight=2)
    batcher = Batcher(work, in_flight=2)
    first = await hold_first(work, batcher)
    second = (await submit(batcher, [1]))[0]
    await asyncio.sleep(0)
    others = await submit(batcher, range(2, 12))
    work.go.set()
    work.go.clear()  # the two at work go on, the next two are held
    await asyncio.gather(first, second)
    assert [len(batch) for batch in work.batches] == [1, 1, 6, 4]
    work.go.set()
    assert await asyncio.gather(*others) == [item * 2 for item in range(2, 12)]


async def test_work_that_answers_too_few_outcomes_fails_everybody() -> None:
    async def lose_one(items: list[int]) -> list[int]:
        return items[1:]

    answers = await asyncio.gather(*await submit(Batcher(lose_one), [1, 2]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError] * 2


async def test_an_items_own_error_is_its_own(work: Work) -> None:
    work.refuse = {2}
    tasks = await submit(Batcher(work), [1, 2, 3])
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[::2] == [2, 6]
    assert isinstance(answers[1], ValueError)


async def test_a_failed_batch_fails_its_callers_and_no_later_ones(work: Work) -> None:
    work.fail_with, work.refuse = ConnectionError, {1}
    batcher = Batcher(work)
    answers = await asyncio.gather(*await submit(batcher, [1, 2]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError] * 2
    assert await batcher.submit(2) == 4


async def test_an_error_that_one_item_can_cause_is_found_by_halves(work: Work) -> None:
    work.fail_with, work.refuse = KeyError, {2}
    tasks = await submit(Batcher(work, isolate_on=(KeyError,)), [1, 2, 3])
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 6]
    assert isinstance(answers[1], KeyError)
    assert work.batches == [[1, 2, 3], [1], [2, 3], [2], [3]]


async def test_an_error_of_a_batch_is_each_callers_own(work: Work) -> None:
    """One object raised in hundreds of callers has each add its frames: the walks through it block the loop."""
    work.fail_with, work.refuse = RuntimeError, {0}
    batcher = Batcher(work)

    async def wait_for(number: int) -> int:
        return await batcher.submit(number)

    errors = await asyncio.gather(*[wait_for(number) for number in range(200)], return_exceptions=True)
    assert len({id(error) for error in errors}) == 200
    for error in errors:
        assert isinstance(error, RuntimeError)
        assert len(traceback.extract_tb(error.__traceback__)) < 10


async def test_with_overlap_a_batch_goes_beside_one_that_is_slow() -> None:
    work = Work(most_in_flight=2)
    batcher = Batcher(work, in_flight=2, overlap_seconds=0.01)
    first = await hold_first(work, batcher)
    second = asyncio.ensure_future(batcher.submit(1))
    while len(work.batches) < 2:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.001)
    work.go.set()
    assert list(await asyncio.gather(first, second)) == [0, 2]


async def test_with_overlap_those_who_come_during_a_quick_batch_share_the_next(work: Work) -> None:
    batcher = Batcher(work, in_flight=8, overlap_seconds=60)
    first = await hold_first(work, batcher)
    others = await submit(batcher, [1, 2, 3])
    work.go.set()
    await asyncio.gather(first, *others)
    assert work.batches == [[0], [1, 2, 3]]


async def test_a_caller_that_gives_up_while_waiting_takes_its_item_back(work: Work) -> None:
    batcher = Batcher(work)
    first = await hold_first(work, batcher)
    gone, stays = await submit(batcher, [1, 2])
    gone.cancel()
    work.go.set()
    assert list(await asyncio.gather(first, stays)) == [0, 4]
    assert work.batches == [[0], [2]]


async def test_a_caller_that_gives_up_during_its_batch_disturbs_nobody(work: Work) -> None:
    batcher = Batcher(work)
    work.go.clear()
    gone, stays = await submit(batcher, [1, 2])
    await work.began.wait()
    gone.cancel()
    work.go.set()
    assert await stays == 4
    assert work.batches == [[1, 2]]


async def test_work_does_not_run_in_the_context_of_the_request_that_began_it(work: Work) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def look(items: list[int]) -> list[int]:
        seen.append(request.get())
        return items

    request.set("mine")
    await Batcher(look).submit(1)
    assert seen == ["none"]


async def test_a_timeout_ends_waits_in_the_queue_and_in_flight_and_spares_who_came_later(work: Work) -> None:
    batcher = Batcher(work, timeout_seconds=0.1)
    first = await hold_first(work, batcher)
    await asyncio.sleep(0.04)
    (second,) = await submit(batcher, [1])
    await asyncio.sleep(0.04)
    (third,) = await submit(batcher, [2])
    await asyncio.wait([second])
    assert isinstance(first.exception(), TimeoutError)
    assert isinstance(second.exception(), TimeoutError)
    assert not third.done()
    work.go.set()
    assert await third == 4
    assert work.batches == [[0], [2]]  # who gave up in the queue is not worked for


async def test_a_timeout_is_the_callers_alone(work: Work) -> None:
    batcher = Batcher(work, timeout_seconds=0.05)
    for number in range(20):
        assert await batcher.submit(number) == number * 2
    await asyncio.sleep(0.1)
    first = await hold_first(work, batcher)
    with pytest.raises(TimeoutError):
        await first
