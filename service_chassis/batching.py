"""Gather concurrent callers into one piece of work, so that they share its cost.

One batch is in flight at a time, or as many as the work allows; whoever arrives meanwhile is in the next. Nobody
waits for a timer: a lone caller's batch starts at once.
"""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Outcomes = Sequence[Outcome | BaseException]
_Group = tuple[Sequence[Item], "asyncio.Future[Any]", bool]
"""What one caller submitted together, where its outcomes go, and whether it is one item whose outcome is wanted
bare."""


class Batcher(Generic[Item, Outcome]):
    """Runs `work` on what has gathered, up to `max_size` items, in up to `in_flight` batches at once.

    `work` returns one outcome per item, in order; an outcome that is an exception is raised in that item's
    caller only. If `work` itself raises, every caller of that batch gets the error, unless it is one of
    `isolate_on`, which one item can cause: then the batch is tried again by halves, and only the bad item fails.
    What one caller submits together stays together, up to `max_size`. With more than one batch in flight nothing
    is said of the order between them: `work` must put up with itself, as with another process. Each then takes its
    share of the callers there are, not all who wait: a large batch and a small one in turn do not overlap much.
    With `overlap_seconds`, a further batch is begun only beside one that has taken so long: batches stay large while
    the work is quick, and nobody waits for one that is slow.
    With `timeout_seconds`, `timeout_error` is raised in a caller that has waited so long, its turn included. One
    timer serves all callers: a timer each is much of what a small item costs. An error of a batch is raised in each
    of its callers as a copy of its own: one object raised in hundreds of them would have each add its frames to the
    same traceback, which takes seconds to walk.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[Outcomes[Outcome]]],
        *,
        max_size: int = 500,
        in_flight: int = 1,
        overlap_seconds: float | None = None,
        timeout_seconds: float | None = None,
        timeout_error: Callable[[], Exception] = TimeoutError,
        isolate_on: tuple[type[Exception], ...] = (),
        observe_size: Callable[[int], None] | None = None,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._in_flight = in_flight
        self._overlap_seconds = overlap_seconds
        self._last_began = 0.0
        self._overlap_timer: asyncio.TimerHandle | None = None
        self._timeout_seconds = timeout_seconds
        self._timeout_error = timeout_error
        self._isolate_on = isolate_on
        self._observe_size = observe_size
        self._waiting: deque[_Group[Item]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._groups_at_work = 0
        self._deadlines: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """Until when each caller waits, oldest first; those done already leave when they come to the front."""
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, item: Item) -> "asyncio.Future[Outcome]":
        """Put `item` in the next batch and return a future of its outcome.

        A caller that is cancelled while its item waits takes the item back; once the batch runs, the work is
        done all the same.
        """
        return self._enqueue([item], is_single=True)

    async def submit_all(self, items: Sequence[Item]) -> list[Outcome]:
        """Put `items` in the next batches and return their outcomes, in order. Raises the first error."""
        size = self._max_size
        if len(items) <= size:
            return _raise_first(await self._enqueue(items, is_single=False)) if items else []
        groups = await asyncio.gather(
            *[self._enqueue(items[begin : begin + size], is_single=False) for begin in range(0, len(items), size)]
        )
        return _raise_first([outcome for outcomes in groups for outcome in outcomes])

    def _enqueue(self, items: Sequence[Item], *, is_single: bool) -> "asyncio.Future[Any]":
        # One future for all of them: a future each is much of what a small item costs.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((items, future, is_single))
        if self._timeout_seconds is not None:
            self._deadlines.append((loop.time() + self._timeout_seconds, future))
            if self._timer is None:
                self._timer = loop.call_later(self._timeout_seconds, self._end_waits)
        if not self._workers or (self._overlap_seconds is None and len(self._workers) < self._in_flight):
            self._start_worker()
        elif self._overlap_seconds is not None and self._overlap_timer is None:
            self._overlap_timer = loop.call_at(self._last_began + self._overlap_seconds, self._overlap)
        return future

    def _start_worker(self) -> None:
        # A context of its own: the worker outlives the request that happened to start it.
        worker = asyncio.create_task(self._run(), context=contextvars.Context())
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def _overlap(self) -> None:
        """Begin another batch beside the ones under way, if the youngest of them has taken long, or come again."""
        self._overlap_timer = None
        if not self._waiting or len(self._workers) >= self._in_flight or self._overlap_seconds is None:
            return
        loop = asyncio.get_running_loop()
        may_begin_at = self._last_began + self._overlap_seconds
        if loop.time() >= may_begin_at:
            self._start_worker()
        else:
            self._overlap_timer = loop.call_at(may_begin_at, self._overlap)

    def _drop_done(self) -> None:
        while self._deadlines and self._deadlines[0][1].done():
            self._deadlines.popleft()

    def _end_waits(self) -> None:
        """Let those who have waited too long go, and come again when the next one will have."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._deadlines and self._deadlines[0][0] <= loop.time():
            _, future = self._deadlines.popleft()
            if not future.done():
                future.set_exception(self._timeout_error())
        self._drop_done()
        if self._deadlines:
            self._timer = loop.call_at(self._deadlines[0][0], self._end_waits)

    async def _run(self) -> None:
        try:
            while self._waiting:
                groups = self._take()
                if groups:
                    self._groups_at_work += len(groups)
                    try:
                        await self._run_batch(groups)
                    finally:
                        self._groups_at_work -= len(groups)
        finally:
            # At once, not when the loop comes to it: whoever arrives in between needs a worker.
            worker = asyncio.current_task()
            if worker is not None:
                self._workers.discard(worker)

    async def _run_batch(self, groups: "list[_Group[Item]]") -> None:
        items = [item for items, _, _ in groups for item in items]
        self._last_began = asyncio.get_running_loop().time()
        if self._observe_size:
            self._observe_size(len(items))
        try:
            outcomes = await self._work_on(items)
        except BaseException:  # cancelled, at shutdown: nobody may be left waiting
            for _, future, _ in groups:
                future.cancel()
            raise
        _hand_out(groups, outcomes)
        self._drop_done()

    async def _work_on(self, items: list[Item]) -> Outcomes[Outcome]:
        try:
            outcomes = await self._work(items)
            if len(outcomes) != len(items):
                raise ValueError("the work returned another number of outcomes than it had items")
            return outcomes
        except self._isolate_on as error:
            if len(items) == 1:
                return [error]
            middle = len(items) // 2
            return [*await self._work_on(items[:middle]), *await self._work_on(items[middle:])]
        except Exception as error:
            return [copy_error(error) for _ in items]

    def _take(self) -> "list[_Group[Item]]":
        groups: list[_Group[Item]] = []
        waiting, room = self._waiting, self._max_size
        batches = self._in_flight if self._overlap_seconds is None else 1
        for _ in range(math.ceil((len(waiting) + self._groups_at_work) / batches)):
            if not waiting or len(waiting[0][0]) > room:
                break
            group = waiting.popleft()
            if not group[1].done():
                groups.append(group)
                room -= len(group[0])
        return groups


def _hand_out(groups: "list[_Group[Any]]", outcomes: Outcomes[Any]) -> None:
    begin = 0
    for items, future, is_single in groups:
        end = begin + len(items)
        if not future.done():
            if not is_single:
                future.set_result(outcomes[begin:end])
            elif isinstance(outcome := outcomes[begin], BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        begin = end


def _raise_first(outcomes: Outcomes[Outcome]) -> list[Outcome]:
    answers: list[Outcome] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    return answers


def copy_error(error: Exception) -> Exception:
    """Return an exception like `error`, with its cause and the traceback that it has now."""
    copied: Exception = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    return copied.with_traceback(error.__traceback__)
