"""Export a client's ledger and usage, in batches of rows, in constant memory."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date

from metering_service.accounts.administer import AdministerAccounts
from metering_service.events.event import BALANCE_EXHAUSTED, NOT_SOLD, QUOTA_EXCEEDED, RATE_LIMITED
from metering_service.usage.read import ReadUsage
from service_chassis.rows import Row

LEDGER_COLUMNS = (
    *("entryId", "at", "kind", "credits", "day", "eventType", "eventId", "userId", "units", "late"),
    *("reference", "source", "note", "actor", "postedAt"),
)
USAGE_COLUMNS = (
    *("window", "eventType", "charged", "units", "credits", "overage"),
    *(f"refused.{code}" for code in (RATE_LIMITED, QUOTA_EXCEEDED, BALANCE_EXHAUSTED, NOT_SOLD)),
    "lastAt",
)


@dataclass(frozen=True, slots=True)
class ExportClients:
    """Yields all there is of a client. Between two batches nothing is held, however slowly they are taken."""

    accounts: AdministerAccounts
    usage: ReadUsage

    async def stream_ledger(self, client_id: str, after: int = 0) -> AsyncIterator[Sequence[Row]]:
        """Yield the lines of a client's ledger, as AdministerAccounts.stream_entries. Raises ClientNotFound."""
        await self.accounts.require_known(client_id)
        async for entries in self.accounts.stream_entries(client_id, after):
            yield [entry.as_document() for entry in entries]

    async def stream_usage(
        self, client_id: str, from_day: date | None, to_day: date | None
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield a client's usage, a row for each day and event type, of days as ReadUsage.fetch.

        Raises InvalidRequest as it does, or ClientNotFound.
        """
        await self.accounts.require_known(client_id)
        async for sums in self.usage.stream_days(client_id, from_day, to_day):
            yield [each.as_document("eventType") for each in sums]
