"""Which client has which policy from when on, in PostgreSQL."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from metering_service.errors import UnknownPolicy
from service_chassis.database.store import Store


@dataclass(frozen=True, slots=True)
class Assignment:
    """A client's policy from `starts_at` until the next one's start, None for no end.

    `anchored_at` is from when the periods of its quotas are counted that do not follow the calendar. The shadow
    policy decides about the same events and refuses nothing.
    """

    policy_id: str
    starts_at: datetime
    ends_at: datetime | None
    anchored_at: datetime
    shadow_policy_id: str | None = None


class AssignmentStore(Store):
    """The table `assignment`, through one connection that the caller holds.

    Whoever writes holds the account's lock, in a transaction: no decision is made by half of a change.
    """

    _LIST_ALL = """
        SELECT policy_id, starts_at, lead(starts_at) OVER (ORDER BY starts_at), anchored_at, shadow_policy_id
        FROM assignment WHERE client_id = $1 ORDER BY starts_at
    """

    async def list_all(self, client_id: str) -> list[Assignment]:
        """Return all assignments of a client, the past, the present and the booked ones, oldest first."""
        return [Assignment(*row) for row in await self._connection.fetch(self._LIST_ALL, client_id)]

    _DELETE_FROM = "DELETE FROM assignment WHERE client_id = $1 AND starts_at >= $2"
    _INSERT = """
        INSERT INTO assignment (client_id, policy_id, starts_at, anchored_at, shadow_policy_id)
        VALUES ($1, $2, $3, $4, $5)
    """

    async def delete_from(self, client_id: str, starts_at: datetime) -> None:
        """Take back what starts at `starts_at` or later."""
        await self._connection.execute(self._DELETE_FROM, client_id, starts_at)

    async def insert(
        self,
        client_id: str,
        policy_id: str,
        starts_at: datetime,
        anchored_at: datetime,
        shadow_policy_id: str | None = None,
    ) -> None:
        """Give a client a policy from `starts_at` on. Raises UnknownPolicy."""
        try:
            await self._connection.execute(
                self._INSERT, client_id, policy_id, starts_at, anchored_at, shadow_policy_id
            )
        except asyncpg.ForeignKeyViolationError as error:
            is_shadow = error.constraint_name == "assignment_shadow_fkey"
            raise UnknownPolicy(str(shadow_policy_id) if is_shadow else policy_id) from None
