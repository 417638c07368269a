"""Look at webhooks, and have them sent again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from metering_service.errors import NoticeNotFound, UnknownReceiver
from metering_service.notices.notice import State, Webhook
from metering_service.notices.webhook_store import Position, WebhookStore
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.http.cursor import cut_page

LAST_WEBHOOK: Position = (datetime(9000, 1, 1, tzinfo=UTC), UUID(int=0), "")
"""Where a list of webhooks begins, which goes backwards."""


@dataclass(frozen=True, slots=True)
class AdministerWebhooks:
    """What operators do with webhooks; `receivers` are the names of those that are configured.

    `actor` is a service key's, or names the command line.
    """

    pool: asyncpg.Pool
    receivers: Sequence[str]
    clock: Clock = system_clock

    async def list_of(
        self, client_id: str | None, state: State | None, before: Position, limit: int
    ) -> tuple[Sequence[Webhook], Webhook | None]:
        """Return a page of webhooks, of a client or in a state where that is said, and its last if more follow."""
        return cut_page(await WebhookStore(self.pool).list_webhooks(client_id, state, before, limit + 1), limit)

    async def replay(self, notice_id: UUID, receiver: str | None, *, actor: str) -> Sequence[str]:
        """Have a notice sent again, to one receiver or to all; return their names.

        Also one that was delivered, and one that was written before a receiver was configured. Raises NoticeNotFound,
        or UnknownReceiver.
        """
        receivers = self._choose(receiver)
        async with self.pool.acquire() as connection, connection.transaction():
            store = WebhookStore(connection)
            client_id = await store.fetch_client(notice_id)
            if client_id is None:
                raise NoticeNotFound(str(notice_id))
            await store.replay(notice_id, receivers)
            await AdminAuditStore(connection).insert_line(
                self.clock(), actor, "replay_notice", client_id, noticeId=str(notice_id), receivers=receivers
            )
        return receivers

    async def replay_dead(self, receiver: str | None, *, actor: str) -> int:
        """Have all that was given up sent again, of one receiver or of all; return how many.

        Raises UnknownReceiver.
        """
        receivers = self._choose(receiver)
        async with self.pool.acquire() as connection, connection.transaction():
            count = await WebhookStore(connection).replay_dead(receivers)
            await AdminAuditStore(connection).insert_line(
                self.clock(), actor, "replay_dead_webhooks", ", ".join(receivers), webhooks=count
            )
        return count

    def _choose(self, receiver: str | None) -> Sequence[str]:
        if not self.receivers or receiver not in (None, *self.receivers):
            raise UnknownReceiver(receiver)
        return self.receivers if receiver is None else [receiver]
