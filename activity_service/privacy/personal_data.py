"""What a person may ask of us: everything we hold about one user, and that we hold it no longer."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import structlog

from activity_service.privacy.store import PersonalDataStore
from service_chassis.clock import Clock
from service_chassis.database.tenancy import act_for
from service_chassis.errors import OperatorError

PSEUDONYM_PREFIX = "erased-"

_log = structlog.get_logger(__name__)


class NotYetCharged(OperatorError):
    """Some of the user's events are still to be charged, and metering must be told of them as they were."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} of the user's events are not charged yet; nothing was erased: try again in a moment, "
            "and see `billing status` if it stays so"
        )


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure changed. `pseudonym` stands where the user's id stood; nobody can tell whose it was."""

    pseudonym: str | None
    plays: int
    kept_answers: int
    billable_events: int


async def export_user(pool: asyncpg.Pool, client_id: str, user_id: str, *, clock: Clock) -> dict[str, Any]:
    """Answer all that is held about a user, as a document for JSON; one snapshot. Unknown users have empty lists."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await act_for(connection, client_id)
        store = PersonalDataStore(connection)
        document: dict[str, Any] = {
            "clientId": client_id,
            "userId": user_id,
            "exportedAt": clock(),
            "planPlays": [dict(row) for row in await store.list_plays(client_id, user_id)],
            "keptAnswers": [_describe_answer(row) for row in await store.list_kept_answers(client_id, user_id)],
            "billableEvents": [dict(row) for row in await store.list_events(client_id, user_id)],
        }
    _audit("user_exported", client_id, plays=len(document["planPlays"]))
    return document


async def erase_user(pool: asyncpg.Pool, client_id: str, user_id: str) -> Erasure:
    """Take the person out of all that is held about a user: plays stay as facts under a pseudonym of their own.

    Email, name and photo go; kept answers of Idempotency-Keys go whole, so that an old key repeated is an error and
    never a second play. Plays and the events that billed them get the same pseudonym, and what was charged stays.
    Raises NotYetCharged, and has then changed nothing.
    """
    pseudonym = f"{PSEUDONYM_PREFIX}{uuid4()}"
    async with pool.acquire() as connection, connection.transaction():
        await act_for(connection, client_id)
        store = PersonalDataStore(connection)
        if open_events := await store.lock_events(client_id, user_id):
            raise NotYetCharged(open_events)
        plays, answers, events = await store.erase(client_id, user_id, pseudonym)
    found = plays + answers + events > 0
    _audit("user_erased", client_id, plays=plays, kept_answers=answers, billable_events=events)
    return Erasure(pseudonym if found else None, plays, answers, events)


def _describe_answer(row: Any) -> dict[str, Any]:
    return {**row, "response": orjson.loads(row["response"])}


def _audit(event: str, client_id: str, **counts: int) -> None:
    """Leave a trace that it was done, without saying of whom."""
    _log.info(event, client_id=client_id, **counts)
