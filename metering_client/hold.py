"""One fact in one transaction: the hold of an event, and the transaction that commits its fact and its fence."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import asyncpg

from metering_client.errors import HoldAbandoned
from metering_client.event import BillableEvent, Grant, require_units
from metering_client.limits import Limit
from metering_client.outbox_store import OutboxStore

_IN_DOUBT = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What may leave a connection in a state that nobody knows: it is cut. Any other error is followed by a rollback."""


class FenceRefused(HoldAbandoned):
    """The fence let the fact not through. `Billing.authorize` finds out why, and raises that."""


class Charge:
    """A fact about to be committed, with its event. `units` may be set until the block ends."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        event: BillableEvent,
        grant: Grant,
        retention: timedelta,
        units: int,
        at: datetime | None,
    ) -> None:
        self._connection = connection
        self._event = event
        self._grant = grant
        self._retention = retention
        self._is_asked = grant.is_settled
        self.units = units
        self.at = at

    async def fence(self) -> bool:
        """Write the fence now; return whether the event is to be charged: False where it was before, or may not be.

        Without this call it is written when the block ends, and must let the fact through. With it the block decides:
        a fact that was there before may be changed all the same, and is charged once.
        """
        self._is_asked = True
        if self._grant.is_settled:
            return False
        require_units(self.units, 0)  # before COMMIT: a fact that cannot be charged must not be stored
        self._event.units = self.units
        happened_at = await OutboxStore(self._connection).insert_happened(
            self._event, self._grant, self.at, self._retention
        )
        self._event.happened_at = happened_at
        return happened_at is not None

    async def finish(self) -> None:
        """Write the fence, unless it was asked. Raises FenceRefused."""
        if not self._is_asked and not await self.fence():
            raise FenceRefused


class Hold:
    """Metering's word that an event may happen, and what it costs set aside. Made by `Billing.authorize`.

    `event_id` is what the caller's row must keep, unique. `limits` are what is left of each of the client's, for
    `as_headers`. `is_charged`: the event was charged before, and nothing more is to be paid.
    """

    def __init__(
        self, event: BillableEvent, grant: Grant, retention: timedelta, settle_soon: Callable[[BillableEvent], None]
    ) -> None:
        self._event = event
        self._grant = grant
        self._retention = retention
        self._settle_soon = settle_soon
        self.is_commit_sent = False
        """Whether COMMIT was sent: from then on only the fence knows what became of the hold."""

    @property
    def event_id(self) -> str:
        """The fact's name, `TYPE:FACT_ID`."""
        return self._event.event_id

    @property
    def is_charged(self) -> bool:
        """Whether the event was charged before."""
        return self._grant.is_settled

    @property
    def limits(self) -> Sequence[Limit]:
        """What is left of each limit; empty where none was asked."""
        return self._grant.limits

    @asynccontextmanager
    async def charge(
        self, connection: asyncpg.Connection, *, units: int | None = None, at: datetime | None = None
    ) -> AsyncIterator[Charge]:
        """Run the block in a transaction of `connection` that commits what it writes together with the charge.

        `units` is the actual number, 0 to a million; those that were authorized unless told. More than those are
        charged, too. `at` is when it happened, the database's present moment unless told. The transaction is begun
        and ended here, since COMMIT is a step of the protocol; the connection must be in none. Once it is committed,
        the relay has it charged. What the block raises is raised, and then nothing is stored and nothing charged.
        """
        if self.is_commit_sent:
            raise RuntimeError("charge() was used already: a hold is for one fact")
        if connection.is_in_transaction():
            raise RuntimeError("charge() begins and ends the transaction: the connection must be in none")
        units = self._event.units if units is None else units
        charge = Charge(connection, self._event, self._grant, self._retention, units, at)
        transaction = connection.transaction()
        await transaction.start()
        try:
            yield charge
            await charge.finish()
        except BaseException as error:
            await _end(connection, transaction, error)
            raise
        await self._commit(transaction)
        if self._event.happened_at is not None:
            self._settle_soon(self._event)

    async def _commit(self, transaction: asyncpg.transaction.Transaction) -> None:
        self.is_commit_sent = True
        await transaction.commit()


async def _end(
    connection: asyncpg.Connection, transaction: asyncpg.transaction.Transaction, error: BaseException
) -> None:
    """End a transaction that is not to be committed."""
    try:
        if isinstance(error, Exception) and not isinstance(error, _IN_DOUBT):
            await transaction.rollback()
            return
    except _IN_DOUBT:
        pass
    # Not rolled back but cut: a connection in doubt may take seconds to say so, and the server rolls back whatever
    # loses its client.
    with suppress(asyncpg.InterfaceError):  # it is lost already
        connection.terminate()
