"""Take a user's id out of all that metering keeps."""

from dataclasses import dataclass

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.errors import UserNotFound
from metering_service.events.event_store import EventStore
from metering_service.notices.store import NoticeStore
from metering_service.refusals.store import RefusalStore
from metering_service.shadow.store import ShadowStore
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore


@dataclass(frozen=True, slots=True)
class EraseUsers:
    """Forgets whose events they were; what was charged stays charged."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def erase(self, client_id: str, user_id: str, *, actor: str) -> int:
        """Forget which holds and charges were this user's; return how many. The audit line does not name the user.

        Raises ClientNotFound, or UserNotFound where nothing names the user.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            await LedgerStore(connection).require_known(client_id)
            events, counters = await EventStore(connection).erase_user(client_id, user_id)
            refusals = await RefusalStore(connection).erase_user(client_id, user_id)
            shadowed = await ShadowStore(connection).erase_user(client_id, user_id)
            notices = await NoticeStore(connection).erase_user(client_id, user_id)
            if not any((events, counters, refusals, shadowed, notices)):
                raise UserNotFound(client_id)
            await AdminAuditStore(connection).insert_line(self.clock(), actor, "erase_user", client_id, events=events)
        return events
