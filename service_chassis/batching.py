"""Gather concurrent callers into one piece of work, so that they share its cost.

One batch is in flight at a time; whoever arrives meanwhile is in the next. Nobody waits for a timer: a
lone caller's batch starts at once.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Batcher(Generic[Item, Outcome]):
    """Runs `work` on what has gathered, up to `max_size` items, one batch after the other.

    `work` answers one outcome per item, in order; an outcome that is an exception is raised in that item's
    caller only. If `work` itself raises, every caller of that batch gets the error, unless it is one of
    `isolate_on`, which one item can cause: then each item goes alone, and only the bad one fails.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[Sequence[Outcome | BaseException]]],
        *,
        max_size: int = 500,
        isolate_on: tuple[type[Exception], ...] = (),
        observe_size: Callable[[int], None] | None = None,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._isolate_on = isolate_on
        self._observe_size = observe_size
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Outcome:
        """Put `item` in the next batch and answer its outcome.

        A caller that is cancelled while its item waits takes the item back; once the batch runs, the work is
        done all the same.
        """
        return await self._enqueue(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Outcome]:
        """Put `items` in the next batches and answer their outcomes, in order. Raises the first error."""
        return await asyncio.gather(*[self._enqueue(item) for item in items])

    def _enqueue(self, item: Item) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            # A context of its own: the worker outlives the request that happened to start it.
            self._worker = asyncio.create_task(self._run(), context=contextvars.Context())
        return future

    async def _run(self) -> None:
        while self._waiting:
            batch = self._take()
            if not batch:
                continue
            if self._observe_size:
                self._observe_size(len(batch))
            try:
                outcomes = await self._work_on([item for item, _ in batch])
            except BaseException:  # cancelled, at shutdown: nobody may be left waiting
                for _, future in batch:
                    future.cancel()
                raise
            _hand_out(batch, outcomes)

    async def _work_on(self, items: list[Item]) -> Sequence[Outcome | BaseException]:
        try:
            return await self._work(items)
        except self._isolate_on as error:
            if len(items) == 1:
                return [error]
            alone = [await self._work_on([item]) for item in items]
            return [outcome for outcomes in alone for outcome in outcomes]
        except Exception as error:
            return [error] * len(items)

    def _take(self) -> list[tuple[Item, asyncio.Future[Outcome]]]:
        batch: list[tuple[Item, asyncio.Future[Outcome]]] = []
        while self._waiting and len(batch) < self._max_size:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch


def _hand_out(batch: list[tuple[Item, asyncio.Future[Outcome]]], outcomes: Sequence[Outcome | BaseException]) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
