"""First completions in PostgreSQL: the change and its fence in one transaction."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

import asyncpg

from activity_service.billing.event import BillableEvent
from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges
from activity_service.plays.store import ACQUIRE_TIMEOUT_SECONDS, UPDATE_PLAN_PLAY, change_parameters
from service_chassis.database.tenancy import CALLER


class NotCommitted(Exception):
    """The transaction ended before COMMIT was sent: for certain nothing was stored. The cause says why."""


class Completion(Enum):
    """How a first completion went."""

    COMPLETED = "completed"
    """The play and its billable event are committed."""
    ENDED_BEFORE = "ended before"
    """Another request ended it first, with its event; the changes are applied without one."""
    VANISHED = "vanished"
    """There is no such play of this user any more: it was deleted, or the user was erased. Nothing is stored."""
    ABANDONED = "abandoned"
    """The hold was given up before. Nothing is stored."""


@dataclass(frozen=True, slots=True)
class CompletionOutcome:
    """How it went, and the play as it now is, where something was stored."""

    completion: Completion
    play: PlanPlay | None = None


class CompletionStore:
    """Changes a play to `ended` for the first time in its life, with the event that bills it.

    Closes: two first completions at once (the play's row lock, then `first_ended_at`), a completion against
    the sweeper (the fence's primary key), a completion against an erasure of its user, whom the event would name
    again (the play's row lock, then its user). Leaves to the fence: an answer to COMMIT that is lost.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def complete_plan_play(
        self, play_id: UUID, changes: PlanPlayChanges, event: BillableEvent, now: datetime
    ) -> CompletionOutcome:
        """Apply `changes`, which end the play, and bill `event` for it, all or nothing.

        Raises NotCommitted when it failed before COMMIT was sent; after any other error the outcome is unknown.
        """
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
                outcome = await self._write(connection, play_id, changes, event, now)
                if outcome.play is None:
                    await transaction.rollback()
                    return outcome
            except BaseException as error:
                # Not rolled back but cut: a connection in doubt may take seconds to say so, and the server
                # rolls back whatever loses its client.
                with suppress(asyncpg.InterfaceError):  # it is lost already
                    connection.terminate()
                if isinstance(error, Exception):
                    raise NotCommitted from error
                raise
            await transaction.commit()
            return outcome

    # Sets the client for the whole transaction.
    _LOCK = f"""
        SELECT play.first_ended_at FROM {CALLER} CROSS JOIN LATERAL (
            SELECT first_ended_at FROM plan_play
            WHERE client_id = caller.client_id AND id = $2 AND user_id IS NOT DISTINCT FROM $3 FOR NO KEY UPDATE
        ) AS play
    """
    _INSERT_HAPPENED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at, next_attempt_at)
        VALUES ($1, $2, 'happened', $3, $4, $5, $6, $7, $7)
        ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
        RETURNING hold_id
    """

    async def _write(
        self,
        connection: asyncpg.Connection,
        play_id: UUID,
        changes: PlanPlayChanges,
        event: BillableEvent,
        now: datetime,
    ) -> CompletionOutcome:
        row = await connection.fetchrow(self._LOCK, event.client_id, play_id, event.user_id)
        if row is None:
            return CompletionOutcome(Completion.VANISHED)
        completion, first_ended_at = Completion.ENDED_BEFORE, None
        if row["first_ended_at"] is None:
            if not await self._insert_happened(connection, event, now):
                return CompletionOutcome(Completion.ABANDONED)
            completion, first_ended_at = Completion.COMPLETED, now
        parameters = change_parameters(event.client_id, play_id, changes, now, first_ended_at=first_ended_at)
        row = await connection.fetchrow(UPDATE_PLAN_PLAY, *parameters)
        return CompletionOutcome(completion, PlanPlay(*row))

    async def _insert_happened(self, connection: asyncpg.Connection, event: BillableEvent, now: datetime) -> bool:
        """Answer whether the fence let us through; what else stands in it, under the play's lock, is 'abandoned'."""
        hold_id = await connection.fetchval(
            self._INSERT_HAPPENED,
            event.hold_id,
            event.event_id,
            event.client_id,
            event.event_type,
            event.user_id,
            event.units,
            now,
        )
        return hold_id is not None
