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
    caller only. If `work` itself raises, every caller of that batch gets the error.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[Sequence[Outcome | BaseException]]],
        *,
        max_size: int = 500,
        observe_size: Callable[[int], None] | None = None,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._observe_size = observe_size
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Outcome:
        """Put `item` in the next batch and answer its outcome.

        A caller that is cancelled while its item waits takes the item back; once the batch runs, the work is
        done all the same.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            # A context of its own: the worker outlives the request that happened to start it.
            self._worker = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch = self._take()
            if not batch:
                continue
            if self._observe_size:
                self._observe_size(len(batch))
            try:
                outcomes = await self._work([item for item, _ in batch])
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                outcomes = [error] * len(batch)
            _hand_out(batch, outcomes)

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
