"""What a person may ask of us: everything we hold about one user, and that we hold it no longer."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from activity_service.errors import NobodyFound, NotYetCharged
from activity_service.plays.plan_play import PSEUDONYM_PREFIX
from activity_service.privacy.store import PersonalDataStore
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.pool import open_snapshot
from service_chassis.database.tenancy import act_for, begin_for

_DEADLOCK_ATTEMPTS = 5
"""Shared statements change plays and events in an order of their own; one that an erasure met goes on."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Hands out or erases what is held about one user of one client; notes that it was done, and not of whom.

    What is handed out, and what an erasure changed, is a document for JSON.
    """

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def export(self, client_id: str, user_id: str) -> dict[str, Any]:
        """Return all that is held about a user, in one snapshot. Raises NobodyFound."""
        async with open_snapshot(self.pool) as connection:
            await act_for(connection, client_id)
            store = PersonalDataStore(connection)
            document: dict[str, Any] = {
                "clientId": client_id,
                "userId": user_id,
                "exportedAt": self.clock(),
                "planPlays": await store.list_plays(client_id, user_id),
                "billableEvents": await store.list_events(client_id, user_id),
            }
            if not document["planPlays"] and not document["billableEvents"]:
                raise await _miss(store, client_id, "--user")
        _log.info("user_exported", client_id=client_id, plays=len(document["planPlays"]))
        return document

    async def export_email(self, client_id: str, email: str) -> dict[str, Any]:
        """Return the plays of no user that hold an e-mail address, as `export` does a user's."""
        async with open_snapshot(self.pool) as connection:
            await act_for(connection, client_id)
            store = PersonalDataStore(connection)
            plays = await store.list_plays_of_email(client_id, email)
            if not plays:
                raise await _miss(store, client_id, "--email")
        _log.info("email_exported", client_id=client_id, plays=len(plays))
        return {"clientId": client_id, "email": email, "exportedAt": self.clock(), "planPlays": plays}

    async def erase_email(self, client_id: str, email: str, *, actor: str) -> dict[str, Any]:
        """Take the person out of plays of no user that hold an e-mail address, in upper or lower case.

        Raises NobodyFound.
        """
        async with begin_for(self.pool, client_id) as connection:
            store = PersonalDataStore(connection)
            plays = await store.erase_plays_of_email(client_id, email)
            if not plays:
                raise await _miss(store, client_id, "--email")
            await AdminAuditStore(connection).insert_line(
                self.clock(), actor, "erase_email", client_id, planPlays=plays
            )
        _log.info("email_erased", client_id=client_id, plays=plays)
        return {"pseudonym": None, "planPlays": plays, "billableEvents": 0}

    async def erase(self, client_id: str, user_id: str, *, actor: str) -> dict[str, Any]:
        """Take the person out of all that is held about a user: plays stay as facts under a pseudonym of their own.

        Email, name and photo go, and what was asked for with an Idempotency-Key, so that an old key repeated is an
        error and never a second play. Plays and the events that billed them get the same pseudonym, of which nobody
        can tell whose it was, and what was charged stays. Raises NotYetCharged or NobodyFound, and has then changed
        nothing.
        """
        for _ in range(_DEADLOCK_ATTEMPTS - 1):
            with suppress(asyncpg.DeadlockDetectedError):
                return await self._erase(client_id, user_id, actor)
        return await self._erase(client_id, user_id, actor)

    async def _erase(self, client_id: str, user_id: str, actor: str) -> dict[str, Any]:
        pseudonym = f"{PSEUDONYM_PREFIX}{uuid4()}"
        async with begin_for(self.pool, client_id) as connection:
            store = PersonalDataStore(connection)
            if open_events := await store.lock_events(client_id, user_id):
                raise NotYetCharged(open_events)
            plays = await store.erase_plays(client_id, user_id, pseudonym)
            events = await store.erase_events(client_id, user_id, pseudonym)
            if not plays and not events:
                raise await _miss(store, client_id, "--user")
            await AdminAuditStore(connection).insert_line(
                self.clock(), actor, "erase_user", client_id, planPlays=plays, billableEvents=events
            )
        _log.info("user_erased", client_id=client_id, plays=plays, billable_events=events)
        return {"pseudonym": pseudonym, "planPlays": plays, "billableEvents": events}


async def _miss(store: PersonalDataStore, client_id: str, option: str) -> NobodyFound:
    return NobodyFound(client_id, option, is_client_known=await store.is_client_known(client_id))
