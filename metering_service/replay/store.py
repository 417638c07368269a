"""The last days of a policy's clients in PostgreSQL, hour by hour."""

from collections.abc import Sequence
from datetime import date, datetime

from metering_service.policies.policy import Period
from metering_service.replay.replay import Attempts
from service_chassis.database.store import Store


class ReplayStore(Store):
    """The tables `usage`, `ledger_entry`, `refusal` and `account` as a replay reads them, through one connection that
    the caller holds, in a snapshot. Writes nothing; each is read by client and time.
    """

    # Those that did most first; a client's present policy is that of its decisions.
    _LIST_CLIENTS = """
        WITH active AS (
            SELECT client_id, sum(events) AS events FROM (
                SELECT client_id, charged AS events FROM usage WHERE day >= $2
                UNION ALL SELECT client_id, refused FROM refusal_count WHERE day >= $2) AS each
            GROUP BY client_id
        )
        SELECT client_id FROM active
        WHERE coalesce((SELECT policy_id FROM find_assignment(active.client_id, utc_now())), $3) = $1
        ORDER BY events DESC, client_id LIMIT $4
    """

    async def list_clients(self, policy_id: str, since: date, default_policy: str, limit: int) -> list[str]:
        """Return the clients of a policy that were charged or refused since a day, the busiest first."""
        rows = await self._connection.fetch(self._LIST_CLIENTS, policy_id, since, default_policy, limit)
        return [client_id for (client_id,) in rows]

    # The newest lines of each client, by the index ledger_entry_by_time: however long its ledger is.
    _LIST_CHARGED = """
        SELECT asked.client_id, date_trunc('hour', l.at, 'UTC') AS hour, l.event_type,
               CASE WHEN $3 THEN coalesce(l.user_id, '') ELSE '' END AS for_user, l.units, -l.credits, count(*)
        FROM unnest($1::text[]) AS asked (client_id)
        CROSS JOIN LATERAL (
            SELECT at, event_type, user_id, units, credits FROM ledger_entry
            WHERE client_id = asked.client_id AND units IS NOT NULL AND at >= $2
            ORDER BY at DESC, entry_id DESC LIMIT $4) AS l
        GROUP BY asked.client_id, hour, l.event_type, for_user, l.units, l.credits
    """
    _LIST_REFUSED = """
        SELECT asked.client_id, date_trunc('hour', r.minute, 'UTC') AS hour, r.event_type,
               CASE WHEN $3 THEN r.user_id ELSE '' END AS for_user, 1, 0, sum(r.refused)::bigint, true
        FROM unnest($1::text[]) AS asked (client_id)
        CROSS JOIN LATERAL (
            SELECT minute, event_type, user_id, refused FROM refusal
            WHERE client_id = asked.client_id AND minute >= $2 AND code <> $5
            ORDER BY minute DESC LIMIT $4) AS r
        GROUP BY asked.client_id, hour, r.event_type, for_user
    """

    async def list_attempts(
        self, client_ids: Sequence[str], since: datetime, *, by_user: bool, without_code: str, limit: int
    ) -> list[Attempts]:
        """Return what clients attempted since an hour, by client and hour, the newest `limit` of each and kind.

        Refusals of the code `without_code` are left out.
        """
        arguments = (client_ids, since, by_user, limit)
        rows = await self._connection.fetch(self._LIST_CHARGED, *arguments)
        rows += await self._connection.fetch(self._LIST_REFUSED, *arguments, without_code)
        return sorted((Attempts(*row) for row in rows), key=lambda each: (each.client_id, each.hour, each.refused))

    _COUNT_LEFT_OUT = """
        SELECT coalesce(sum(refused), 0)::bigint FROM refusal_count
        WHERE client_id = ANY ($1) AND day >= $2 AND code = $3
    """

    async def count_refused(self, client_ids: Sequence[str], since: date, code: str) -> int:
        """Return how often clients were refused for one code since a day."""
        return int(await self._connection.fetchval(self._COUNT_LEFT_OUT, client_ids, since, code))

    _LIST_AVAILABLE = """
        SELECT client_id, available(account) + coalesce((
                   SELECT sum(credits) FROM usage u WHERE u.client_id = account.client_id AND day >= $2), 0)::bigint
        FROM account WHERE client_id = ANY ($1)
    """

    async def list_available(self, client_ids: Sequence[str], since: date) -> dict[str, int]:
        """Return what each client has, and what it has spent since a day, in credits."""
        return dict(await self._connection.fetch(self._LIST_AVAILABLE, client_ids, since))

    _LIST_GIVEN = """
        SELECT client_id, date_trunc('hour', at, 'UTC') AS hour, sum(credits)::bigint FROM ledger_entry
        WHERE client_id = ANY ($1) AND actor IS NOT NULL AND at >= $2
        GROUP BY client_id, hour ORDER BY client_id, hour
    """

    async def list_given(self, client_ids: Sequence[str], since: datetime) -> list[tuple[str, datetime, int]]:
        """Return what clients were given, less what they lost without an event, by hour, oldest first."""
        return [tuple(row) for row in await self._connection.fetch(self._LIST_GIVEN, client_ids, since)]

    _LIST_USED = """
        SELECT client_id, event_type, sum(charged)::bigint, sum(units)::bigint, sum(credits)::bigint FROM usage
        WHERE client_id = ANY ($1) AND day >= $2 AND day < $3 GROUP BY client_id, event_type
    """

    async def list_used(
        self, client_ids: Sequence[str], period: Period, from_day: date, to_day: date
    ) -> dict[tuple[str, str], dict[str, tuple[int, int, int]]]:
        """Return events, units and credits by event type, of days up to `to_day`, by client and `period`."""
        found: dict[tuple[str, str], dict[str, tuple[int, int, int]]] = {}
        for client_id, event_type, *sums in await self._connection.fetch(
            self._LIST_USED, client_ids, from_day, to_day
        ):
            found.setdefault((client_id, period), {})[event_type] = tuple(sums)
        return found
