"""Nobody in another's way: what one client or one event makes fail is kept from its neighbours in a batch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import asyncpg
import structlog

from metering_service.events.hold_store import HoldStore
from service_chassis.operations.logging import log_fault


class _OfClient(Protocol):
    @property
    def client_id(self) -> str: ...


Event = TypeVar("Event", bound=_OfClient)
Outcome = TypeVar("Outcome")

Statement = Callable[[HoldStore, Sequence[Event]], Awaitable[Sequence[Outcome | None]]]
"""Does something about events through a store, and returns an outcome for each, in order; it may be repeated."""

OF_AN_EVENT = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.RaiseError,
)
"""What one event or one client can cause. Anything else is the whole database's trouble."""
MAX_FAILED_STATEMENTS = 40
"""Of one batch: enough to find four bad events among 500. What is not found by then is not decided."""
SUSPECT_SECONDS = 5.0
"""How long a client whose account was locked is dealt with apart from the others."""
SUSPECT_LOCK_TIMEOUT = "10ms"
"""How long those wait for its lock: one that stays for a while must not cost every batch the whole time."""
ALONE_AT_ONCE = 3
"""Statements for single clients beside each other: they must not take every connection."""

_log = structlog.get_logger(__name__)


class Isolated(Generic[Event, Outcome]):
    """Runs a statement for a batch of events, and where it fails for those apart that may be the reason.

    An event that cannot be dealt with has no outcome (None): its account is locked, or a row of it is broken. The
    others have theirs, and wait for it once, for as long as locks are waited for (CHARGING_SETTINGS).
    """

    def __init__(self, pool: asyncpg.Pool, statement: Statement[Event, Outcome], name: str) -> None:
        self._pool = pool
        self._statement = statement
        self._name = name
        self._suspects: dict[str, float] = {}
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE)

    async def run(self, events: Sequence[Event]) -> list[Outcome | None]:
        """Return an outcome for each of `events`, in order. Raises OSError, TimeoutError or PostgresError."""
        outcomes: list[Outcome | None] = [None] * len(events)
        now = time.monotonic()
        self._suspects = {client: until for client, until in self._suspects.items() if until > now}
        batch = _Batch(self._statement, events, outcomes)
        suspects = [self._run_suspect(batch, client) for client in batch.clients if client in self._suspects]
        others = [n for n, event in enumerate(events) if event.client_id not in self._suspects]
        await asyncio.gather(*suspects, self._run_together(batch, others))
        return outcomes

    async def _run_together(self, batch: "_Batch[Event, Outcome]", numbers: Sequence[int]) -> None:
        if not numbers:
            return
        try:
            async with self._pool.acquire() as connection:
                await batch.run(HoldStore(connection), numbers)
            return
        except asyncpg.LockNotAvailableError:
            async with self._pool.acquire() as connection:
                locked = await HoldStore(connection).list_locked(batch.clients)
        except OF_AN_EVENT as error:
            locked = set()
            self._tell(error, batch.events[numbers[0]] if len(numbers) == 1 else None)
        for client in locked:
            self._suspects[client] = time.monotonic() + SUSPECT_SECONDS
        free = [n for n in numbers if batch.events[n].client_id not in locked]
        suspects = [
            self._run_suspect(batch, client)
            for client in {batch.events[n].client_id for n in numbers if batch.events[n].client_id in locked}
        ]
        await asyncio.gather(*suspects, self._run_by_halves(batch, free))

    async def _run_suspect(self, batch: "_Batch[Event, Outcome]", client_id: str) -> None:
        """Deal with the events of one client whose account may be locked, with little patience."""
        numbers = [n for n, event in enumerate(batch.events) if event.client_id == client_id]
        try:
            async with self._alone, self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{SUSPECT_LOCK_TIMEOUT}'")
                await batch.run(HoldStore(connection), numbers)
            self._suspects.pop(client_id, None)
        except (*OF_AN_EVENT, TimeoutError) as error:
            self._suspects[client_id] = time.monotonic() + SUSPECT_SECONDS
            self._tell(error, batch.events[numbers[0]])

    async def _run_by_halves(self, batch: "_Batch[Event, Outcome]", numbers: Sequence[int]) -> None:
        """Run what failed together again, halved where it fails, clients together, down to the event."""
        waiting = [sorted(numbers, key=lambda n: batch.events[n].client_id)] if numbers else []
        failed_statements = 0
        while waiting and failed_statements < MAX_FAILED_STATEMENTS:
            part = waiting.pop()
            try:
                async with self._pool.acquire() as connection:
                    await batch.run(HoldStore(connection), part)
            except OF_AN_EVENT as error:
                failed_statements += 1
                if len(part) == 1:
                    self._tell(error, batch.events[part[0]])
                else:
                    middle = len(part) // 2
                    waiting += [part[middle:], part[:middle]]

    def _tell(self, error: Exception, event: Event | None) -> None:
        log_fault("event_not_decided", error, call=self._name, client_id=event.client_id if event else None)


class _Batch(Generic[Event, Outcome]):
    """Events and what came of them so far."""

    def __init__(
        self, statement: Statement[Event, Outcome], events: Sequence[Event], outcomes: list[Outcome | None]
    ) -> None:
        self._statement = statement
        self.events = events
        self.outcomes = outcomes
        self.clients = sorted({event.client_id for event in events})

    async def run(self, store: HoldStore, numbers: Sequence[int]) -> None:
        """Run the statement for the events of these `numbers`, and note each outcome."""
        for n, outcome in zip(numbers, await self._statement(store, [self.events[n] for n in numbers]), strict=True):
            self.outcomes[n] = outcome
