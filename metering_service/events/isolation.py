"""Nobody in another's way: what one client or one event makes fail is kept from its neighbours in a batch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import asyncpg

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
LOCK_TIMEOUTS_SECONDS = (0.2, 0.4, 0.8)
"""Of each further try at the accounts that were locked, while their locks change hands: a client that several
processes decide about is busy, and each has its turn."""


class Isolated(Generic[Event, Outcome]):
    """Runs a statement for a batch of events, and where it fails for those apart that may be the reason.

    An event that cannot be dealt with has no outcome (None): its account is locked, or a row of it is broken. The
    others have theirs, and wait for it once, for as long as locks are waited for (CHARGING_SETTINGS). An account
    whose lock one transaction keeps is left alone until that one has ended, which a look tells without waiting.
    """

    def __init__(self, pool: asyncpg.Pool, statement: Statement[Event, Outcome], name: str) -> None:
        self._pool = pool
        self._statement = statement
        self._name = name
        self._kept_by: dict[str, str] = {}
        """The transaction that keeps a client's account locked, of those that were waited for in vain."""

    async def run(self, events: Sequence[Event]) -> list[Outcome | None]:
        """Return an outcome for each of `events`, in order. Raises OSError, TimeoutError or PostgresError."""
        outcomes: list[Outcome | None] = [None] * len(events)
        batch = _Batch(self._statement, events, outcomes)
        kept = await self._look_again({event.client_id for event in events})
        numbers = [n for n, event in enumerate(events) if event.client_id not in kept]
        if not numbers:
            return outcomes
        try:
            async with self._pool.acquire() as connection:
                await batch.run(HoldStore(connection), numbers)
        except asyncpg.LockNotAvailableError:
            await self._run_past_locks(batch, numbers)
        except OF_AN_EVENT as error:
            await self._run_after(error, batch, numbers)
        return outcomes

    async def _look_again(self, clients: Iterable[str]) -> set[str]:
        """Return those of `clients` whose accounts are kept locked still, and forget it of the others."""
        kept_by = {client: self._kept_by[client] for client in clients if client in self._kept_by}
        if not kept_by:
            return set()
        # Another batch may look at the same time, and forget them meanwhile.
        holders = await self._find_lock_holders(sorted(kept_by))
        kept = {client for client, holder in kept_by.items() if holders.get(client) == holder}
        for client in kept_by:
            if client in kept:
                self._tell(asyncpg.LockNotAvailableError(), client)
            else:
                self._kept_by.pop(client, None)
        return kept

    async def _run_past_locks(self, batch: "_Batch[Event, Outcome]", numbers: Sequence[int]) -> None:
        """Deal with those whose accounts nobody has locked, and beside that with the others."""
        holders = await self._find_lock_holders(batch.list_clients(numbers))
        free = [n for n in numbers if batch.events[n].client_id not in holders]
        locked = [n for n in numbers if batch.events[n].client_id in holders]
        await asyncio.gather(self._run_by_halves(batch, free), self._run_in_turn(batch, locked, holders))

    async def _run_in_turn(
        self, batch: "_Batch[Event, Outcome]", numbers: Sequence[int], holders: Mapping[str, str]
    ) -> None:
        """Wait for locks as long as they change hands; leave those that one of `holders` keeps."""
        for timeout_seconds in LOCK_TIMEOUTS_SECONDS:
            if not numbers:
                return
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = {int(timeout_seconds * 1000)}")
                    await batch.run(HoldStore(connection), numbers)
                return
            except asyncpg.LockNotAvailableError as error:
                before, holders = holders, await self._find_lock_holders(batch.list_clients(numbers))
                kept = {client: holder for client, holder in holders.items() if before.get(client) == holder}
                self._kept_by |= kept
                for client in sorted(kept):
                    self._tell(error, client)
                numbers = [n for n in numbers if batch.events[n].client_id not in kept]
            except OF_AN_EVENT as error:
                await self._run_after(error, batch, numbers)
                return
        for client in batch.list_clients(numbers):
            self._tell(asyncpg.LockNotAvailableError(), client)

    async def _find_lock_holders(self, clients: Sequence[str]) -> dict[str, str]:
        return await HoldStore(self._pool).find_lock_holders(clients)

    async def _run_after(self, error: Exception, batch: "_Batch[Event, Outcome]", numbers: Sequence[int]) -> None:
        """Tell what made `numbers` fail together, and run them by halves."""
        self._tell(error, batch.events[numbers[0]].client_id if len(numbers) == 1 else None)
        await self._run_by_halves(batch, numbers)

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
                    self._tell(error, batch.events[part[0]].client_id)
                else:
                    middle = len(part) // 2
                    waiting += [part[middle:], part[:middle]]

    def _tell(self, error: Exception, client_id: str | None) -> None:
        log_fault("event_not_decided", error, call=self._name, client_id=client_id)


class _Batch(Generic[Event, Outcome]):
    """Events and what came of them so far."""

    def __init__(
        self, statement: Statement[Event, Outcome], events: Sequence[Event], outcomes: list[Outcome | None]
    ) -> None:
        self._statement = statement
        self.events = events
        self.outcomes = outcomes

    def list_clients(self, numbers: Iterable[int]) -> list[str]:
        """Return the clients of the events of these `numbers`, each once."""
        return sorted({self.events[n].client_id for n in numbers})

    async def run(self, store: HoldStore, numbers: Sequence[int]) -> None:
        """Run the statement for the events of these `numbers`, and note each outcome."""
        for n, outcome in zip(numbers, await self._statement(store, [self.events[n] for n in numbers]), strict=True):
            self.outcomes[n] = outcome
