"""Show a client its usage."""

from dataclasses import dataclass
from datetime import date, timedelta

from activity_service.errors import UsageUnavailable
from metering_client.client import MeteringClient
from metering_client.errors import MeteringUnavailable
from metering_client.usage import ClientSummary, DecisionPage
from service_chassis.clock import Clock


@dataclass(frozen=True, slots=True)
class ReadUsage:
    """Asks metering, which keeps it. A month is told as its first day, UTC, None for the present one.

    Every method raises UsageUnavailable where metering gives no usable response in time.
    """

    metering: MeteringClient
    clock: Clock

    def choose_month(self, month: date | None) -> date:
        """Return the first day of the month that is meant."""
        return month or self.clock().date().replace(day=1)

    async def summarize(self, client_id: str, month: date) -> ClientSummary:
        """Return a client's usage of a month, and its limits and balance at present."""
        try:
            return await self.metering.summarize(client_id, month)
        except MeteringUnavailable:
            raise UsageUnavailable from None

    async def list_decisions(self, client_id: str, month: date, limit: int, cursor: str | None) -> DecisionPage:
        """Return a page of a client's charges and refusals of a month. Raises InvalidRequest for a wrong cursor."""
        try:
            until = (month + timedelta(days=31)).replace(day=1)
            return await self.metering.list_decisions(client_id, month, until, limit, cursor)
        except MeteringUnavailable:
            raise UsageUnavailable from None
