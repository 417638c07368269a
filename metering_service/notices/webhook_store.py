"""Webhooks in PostgreSQL: which notice is on its way to which receiver."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from metering_service.notices.notice import Notice, State, Webhook
from service_chassis.database.pool import count_changed
from service_chassis.database.store import Store

LEASE_SECONDS = 60.0
"""How long a webhook is left to the process that claimed it: several times what sending may take. Another process
sends it after that, and if both do, the receiver sees one id twice."""
ADDRESSED_WITHIN = timedelta(days=3)
"""How old a notice may be that is sent by itself, as old as attempts at it get: a receiver that is configured later
does not want to hear what was true last month."""
_ADDRESSED_AT_ONCE = 500
_NOTICE = "n.notice_id, n.client_id, n.kind, n.threshold, n.user_id, n.at, n.ends_at, n.data"
_WEBHOOK = "w.receiver, coalesce(w.attempts, 0), w.next_attempt_at, w.last_error, w.delivered_at, w.dead_at"

Position = tuple[datetime, UUID, str]
"""Of a webhook in a list: its notice's moment and id, and its receiver, '' for none."""


@dataclass(frozen=True, slots=True)
class WebhookBacklog:
    """How many webhooks were given up, and how long the oldest one has been waiting."""

    dead: int
    oldest_waiting_seconds: float


class WebhookStore(Store):
    """The table `webhook`, through one connection that the caller holds. Needs no transaction.

    Closes: a notice that one receiver gets and another never hears of (they are addressed in one statement), two
    processes that send the same at once (a claimed one is nobody else's for a while). Leaves open: one that is sent
    twice, when its sender dies or stands still after the receiver took it. Receivers know it by its id.
    """

    _ADDRESS = """
        WITH taken AS (
            UPDATE notice SET is_addressed = true
            WHERE notice_id = ANY (ARRAY(
                SELECT notice_id FROM notice WHERE NOT is_addressed AND at > utc_now() - $3::interval
                ORDER BY at LIMIT $2
                FOR NO KEY UPDATE SKIP LOCKED))
            RETURNING notice_id
        )
        INSERT INTO webhook (notice_id, receiver, created_at, next_attempt_at)
        SELECT notice_id, receiver, utc_now(), utc_now() FROM taken CROSS JOIN unnest($1::text[]) AS receiver
        ON CONFLICT ON CONSTRAINT webhook_pkey DO NOTHING
    """

    async def address(self, receivers: Sequence[str]) -> None:
        """Have new notices sent to each of `receivers`."""
        await self._connection.execute(self._ADDRESS, receivers, _ADDRESSED_AT_ONCE, ADDRESSED_WITHIN)

    _CLAIM_DUE = f"""
        WITH claimed AS (
            UPDATE webhook SET next_attempt_at = utc_now() + $3::interval
            WHERE receiver = $1 AND notice_id = ANY (ARRAY(
                SELECT notice_id FROM webhook WHERE receiver = $1 AND next_attempt_at <= utc_now()
                ORDER BY next_attempt_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
            RETURNING *
        )
        SELECT {_NOTICE}, {_WEBHOOK} FROM claimed w JOIN notice n ON n.notice_id = w.notice_id ORDER BY n.at
    """

    async def claim_due(self, receiver: str, limit: int) -> list[Webhook]:
        """Take up to `limit` webhooks of a receiver that are due, oldest first; nobody else gets them meanwhile."""
        rows = await self._connection.fetch(self._CLAIM_DUE, receiver, limit, timedelta(seconds=LEASE_SECONDS))
        return [_read_webhook(*row) for row in rows]

    _NOTE_DELIVERED = """
        UPDATE webhook SET delivered_at = utc_now(), next_attempt_at = NULL, dead_at = NULL
        WHERE notice_id = $1 AND receiver = $2
    """
    # Never over a delivery that another process noted meanwhile.
    _NOTE_FAILED = """
        UPDATE webhook
        SET attempts = attempts + 1, last_error = $3, next_attempt_at = utc_now() + $4::interval,
            dead_at = CASE WHEN $4::interval IS NULL THEN utc_now() END
        WHERE notice_id = $1 AND receiver = $2 AND next_attempt_at IS NOT NULL
    """

    async def note_delivered(self, webhook: Webhook) -> None:
        """Note that a receiver has taken a notice."""
        await self._connection.execute(self._NOTE_DELIVERED, webhook.notice.notice_id, webhook.receiver)

    async def note_failed(self, webhook: Webhook, why: str, again_in: timedelta | None) -> None:
        """Note why an attempt failed; `again_in` is when the next one is due, None to give up (dead letter)."""
        await self._connection.execute(self._NOTE_FAILED, webhook.notice.notice_id, webhook.receiver, why, again_in)

    _REPLAY = """
        INSERT INTO webhook AS w (notice_id, receiver, created_at, next_attempt_at)
        SELECT notice_id, receiver, utc_now(), utc_now() FROM notice CROSS JOIN unnest($2::text[]) AS receiver
        WHERE notice_id = $1
        ON CONFLICT ON CONSTRAINT webhook_pkey DO UPDATE
        SET created_at = utc_now(), next_attempt_at = utc_now(), attempts = 0, delivered_at = NULL, dead_at = NULL
    """
    _REPLAY_DEAD = """
        UPDATE webhook SET created_at = utc_now(), next_attempt_at = utc_now(), attempts = 0, dead_at = NULL
        WHERE dead_at IS NOT NULL AND receiver = ANY ($1)
    """

    async def replay(self, notice_id: UUID, receivers: Sequence[str]) -> int:
        """Have a notice sent to `receivers` again, whatever became of it; return to how many."""
        return count_changed(await self._connection.execute(self._REPLAY, notice_id, receivers))

    async def replay_dead(self, receivers: Sequence[str]) -> int:
        """Have all that was given up of `receivers` sent again; return how many."""
        return count_changed(await self._connection.execute(self._REPLAY_DEAD, receivers))

    _FETCH_CLIENT = "SELECT client_id FROM notice WHERE notice_id = $1"

    async def fetch_client(self, notice_id: UUID) -> str | None:
        """Return whom a notice is about, None for no such notice."""
        client_id: str | None = await self._connection.fetchval(self._FETCH_CLIENT, notice_id)
        return client_id

    _LIST = f"""
        SELECT {_NOTICE}, {_WEBHOOK}
        FROM notice n LEFT JOIN webhook w ON w.notice_id = n.notice_id
        WHERE ($1::text IS NULL OR n.client_id = $1)
          AND ($2::text IS NULL OR $2 = CASE WHEN w.receiver IS NULL THEN 'unsent'
                                             WHEN w.dead_at IS NOT NULL THEN 'dead'
                                             WHEN w.delivered_at IS NOT NULL THEN 'delivered' ELSE 'waiting' END)
          AND (n.at, n.notice_id) <= ($3, $4) AND (n.at, n.notice_id, coalesce(w.receiver, '')) < ($3, $4, $5)
        ORDER BY n.at DESC, n.notice_id DESC, coalesce(w.receiver, '') DESC
        LIMIT $6
    """

    async def list_webhooks(
        self, client_id: str | None, state: State | None, before: Position, limit: int
    ) -> list[Webhook]:
        """Return webhooks, of a client or in a state where that is said, newest first, from before `before` on."""
        rows = await self._connection.fetch(self._LIST, client_id, state, *before, limit)
        return [_read_webhook(*row) for row in rows]

    _FETCH_BACKLOG = """
        SELECT (SELECT count(*) FROM webhook WHERE dead_at IS NOT NULL),
               coalesce(extract(epoch FROM utc_now() - least(
                   (SELECT min(created_at) FROM webhook WHERE next_attempt_at IS NOT NULL AND receiver = ANY ($1)),
                   (SELECT min(at) FROM notice WHERE NOT is_addressed AND at > utc_now() - $2::interval)))::float, 0)
    """

    async def fetch_backlog(self, receivers: Sequence[str]) -> WebhookBacklog:
        """Return what `receivers` wait for, and what was given up of any."""
        return WebhookBacklog(*await self._connection.fetchrow(self._FETCH_BACKLOG, receivers, ADDRESSED_WITHIN))


def _read_webhook(*columns: Any) -> Webhook:
    notice = (*columns[:7], orjson.loads(columns[7]))
    return Webhook(Notice(*notice), *columns[8:])
