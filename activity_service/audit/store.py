"""Read what an audit looks at, in constant memory."""

from collections.abc import AsyncIterator

import asyncpg

from activity_service.plays.plan_play import PLAY_COMPLETED, PLAY_CREATED, PSEUDONYM_PREFIX
from metering_client import audit_store
from metering_client.event import Fact
from service_chassis.database.pool import UNHURRIED
from service_chassis.database.tenancy import ALL_CLIENTS

CONNECTION_SETTINGS = {**ALL_CLIENTS, **UNHURRIED}
"""An audit's own connection sees everything and is allowed to be slow."""

_TOLD_USER = f"CASE WHEN starts_with(user_id, '{PSEUDONYM_PREFIX}') THEN NULL ELSE user_id END"

_FACTS = f"""
    SELECT '{PLAY_CREATED}:' || id AS event_id, client_id, user_id, created_at AS at FROM plan_play
    UNION ALL
    SELECT '{PLAY_COMPLETED}:' || id, client_id, user_id, first_ended_at FROM plan_play
    WHERE first_ended_at IS NOT NULL
"""


class AuditStore:
    """Streams what the checks want, through one connection that the caller holds, in one snapshot."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._reading = audit_store.AuditStore(connection)

    _DIFFERING = f"""
        WITH fact AS ({_FACTS})
        SELECT event.event_id FROM billable_event event JOIN fact USING (event_id, client_id)
        WHERE event.outcome = 'happened' AND event.user_id IS DISTINCT FROM fact.user_id
    """

    async def stream_differing(self) -> AsyncIterator[str]:
        """Yield the ids of events that are to be charged and name another user than their play.

        A hash join: linear in the rows.
        """
        async for (event_id,) in self._reading.stream(self._DIFFERING):
            yield event_id

    _COUNT_FACTS = f"SELECT count(*) FROM ({_FACTS}) AS fact"

    async def count_facts(self) -> int:
        """Return how many facts plays say there are."""
        return int(await self._connection.fetchval(self._COUNT_FACTS, timeout=audit_store.READ_TIMEOUT_SECONDS))

    # Two walks along the primary key, one after the other: a UUID's bytes are in the order of its text, and
    # 'completed' comes before 'created'.
    _COMPLETIONS = f"""
        SELECT '{PLAY_COMPLETED}:' || id, client_id, '{PLAY_COMPLETED}', {_TOLD_USER}, 1, first_ended_at
        FROM plan_play WHERE first_ended_at IS NOT NULL ORDER BY id
    """
    _CREATIONS = f"""
        SELECT '{PLAY_CREATED}:' || id, client_id, '{PLAY_CREATED}', {_TOLD_USER}, 1, created_at
        FROM plan_play ORDER BY id
    """

    async def stream_facts(self) -> AsyncIterator[Fact]:
        """Yield every fact, sorted by event id; an erased user's without the user, who is nobody's to be told of."""
        for statement in (self._COMPLETIONS, self._CREATIONS):
            async for row in self._reading.stream(statement):
                yield Fact(*row)
