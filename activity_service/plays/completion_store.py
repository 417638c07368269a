"""First completions in PostgreSQL: the change and its fence in one transaction."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import asyncpg

from activity_service.billing.event import BillableEvent, Grant
from activity_service.billing.outbox_store import OutboxStore
from activity_service.errors import NotCommitted
from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges
from activity_service.plays.store import PlanPlayStore
from service_chassis.database.tenancy import CALLER


class Completion(Enum):
    """How a first completion went."""

    COMPLETED = "completed"
    """The play and its billable event are committed."""
    ENDED_BEFORE = "ended before"
    """The event was charged, or another request ended it first, with its event; the changes are applied without
    one."""
    VANISHED = "vanished"
    """There is no such play of this user any more: it was deleted, or the user was erased. Nothing is stored."""
    ABANDONED = "abandoned"
    """The hold was given up before, or is too old to be used. Nothing is stored."""


@dataclass(frozen=True, slots=True)
class CompletionOutcome:
    """How it went, and the play as it now is, where something was stored."""

    completion: Completion
    play: PlanPlay | None = None


class CompletionStore:
    """Changes a play to `ended` for the first time in its life, with the event that bills it.

    Its transaction is a step of the protocol, so it is begun and ended here: the caller must learn whether COMMIT
    was sent, since from then on only the fence decides.

    Closes: two first completions at once (the play's row lock, then `first_ended_at`), a completion against
    the sweeper (the fence's primary key), a completion against an erasure of its user, whom the event would name
    again (the play's row lock, then its user). Leaves to the fence: a response to COMMIT that is lost.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def complete_plan_play(
        self,
        play_id: str,
        changes: PlanPlayChanges,
        event: BillableEvent,
        grant: Grant,
        now: datetime,
        retention: timedelta,
    ) -> CompletionOutcome:
        """Apply `changes`, which end the play, and bill `event` for it under `grant`, all or nothing.

        Raises NotCommitted when it failed before COMMIT was sent; after any other error the outcome is unknown.
        """
        transaction = self._connection.transaction()
        try:
            await transaction.start()
            outcome = await self._write(play_id, changes, event, grant, now, retention)
            if outcome.play is None:
                await transaction.rollback()
                return outcome
        except BaseException as error:
            # Not rolled back but cut: a connection in doubt may take seconds to say so, and the server
            # rolls back whatever loses its client.
            with suppress(asyncpg.InterfaceError):  # it is lost already
                self._connection.terminate()
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

    async def _write(
        self,
        play_id: str,
        changes: PlanPlayChanges,
        event: BillableEvent,
        grant: Grant,
        now: datetime,
        retention: timedelta,
    ) -> CompletionOutcome:
        row = await self._connection.fetchrow(self._LOCK, event.client_id, play_id, event.user_id)
        if row is None:
            return CompletionOutcome(Completion.VANISHED)
        completion = Completion.ENDED_BEFORE
        # Also where the play was ended before: metering was restored, and knows the fact by this hold alone.
        if not grant.is_settled and await OutboxStore(self._connection).insert_happened(event, grant, now, retention):
            completion = Completion.COMPLETED
        elif not grant.is_settled and row["first_ended_at"] is None:
            return CompletionOutcome(Completion.ABANDONED)
        play = await PlanPlayStore(self._connection).update_plan_play(
            event.client_id, play_id, changes, now, first_ended_at=row["first_ended_at"] or now
        )
        assert play is not None  # noqa: S101 - it is locked
        return CompletionOutcome(completion, play)
