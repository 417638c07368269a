"""What a person may ask of us: everything that metering holds about one user, and that it holds it no longer."""

from datetime import datetime
from typing import Any

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.errors import UserNotFound
from metering_service.events.event_store import EventStore
from metering_service.notices.store import NoticeStore
from metering_service.privacy.store import PersonalDataStore
from metering_service.refusals.store import RefusalStore
from metering_service.shadow.store import ShadowStore
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.pool import open_snapshot


async def export_user(pool: asyncpg.Pool, client_id: str, user_id: str, *, now: datetime) -> dict[str, Any]:
    """Return all that is held about a user, as a document for JSON; one snapshot.

    Raises ClientNotFound, or UserNotFound where nothing names the user.
    """
    async with open_snapshot(pool) as connection:
        await LedgerStore(connection).require_known(client_id)
        held = await PersonalDataStore(connection).list_all(client_id, user_id)
    if not any(held.values()):
        raise UserNotFound(client_id)
    return {"clientId": client_id, "userId": user_id, "exportedAt": now, **held}


async def erase_user(pool: asyncpg.Pool, client_id: str, user_id: str, *, now: datetime, actor: str) -> int:
    """Forget which holds and charges were this user's; return how many. The audit line does not name the user.

    What was charged stays charged.

    Raises ClientNotFound, or UserNotFound where nothing names the user.
    """
    async with pool.acquire() as connection, connection.transaction():
        await LedgerStore(connection).require_known(client_id)
        events, counters = await EventStore(connection).erase_user(client_id, user_id)
        refusals = await RefusalStore(connection).erase_user(client_id, user_id)
        shadowed = await ShadowStore(connection).erase_user(client_id, user_id)
        notices = await NoticeStore(connection).erase_user(client_id, user_id)
        if not any((events, counters, refusals, shadowed, notices)):
            raise UserNotFound(client_id)
        await AdminAuditStore(connection).insert_line(now, actor, "erase_user", client_id, events=events)
    return events
