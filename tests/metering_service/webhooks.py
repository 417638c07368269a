"""What tests of webhooks do."""

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from metering_service.metrics import MeteringMetrics
from metering_service.notices.address import AddressGuard
from metering_service.notices.send import SendWebhooks, open_session
from service_chassis.database.pool import open_pool
from service_chassis.operations.metrics import Metrics
from tests.metering_service.conftest import Metering, event
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.webhook_receiver import LOOPBACK, WebhookReceiver
from tests.operator_command import run_command

ALLOWED = AddressGuard([ip_network(each) for each in LOOPBACK])
QUOTA = {"name": "monthly", "limit": 10, "counts": "units", "period": "month"}


async def tell(metering: Metering, notices: int = 1, **fields: Any) -> None:
    """Have so many notices written by one charge."""
    at = [number / 20 for number in range(1, notices + 1)]
    quota = {**QUOTA, "per": "user"} if "userId" in fields else QUOTA
    await metering.give("acme", credits="unlimited", quotas=[quota], notices=[{"of": "quota:monthly", "at": at}])
    await metering.authorize(attempt := event(units=10, **fields))
    await metering.settle_by_ids(attempt)
    assert len(await metering.fetch("SELECT FROM notice")) == notices


async def states(metering: Metering) -> list[tuple[str, str, int]]:
    listed = await metering.admin("GET", "/internal/webhooks")
    return [(each["receiver"], each["state"], each["attempts"]) for each in listed["webhooks"]]


async def until(metering: Metering, count: int, state: str = "delivered") -> None:
    async with asyncio.timeout(60):
        while [each[1] for each in await states(metering)].count(state) < count:
            pass


async def send(metering: Metering, receiver: WebhookReceiver, clock: MovableClock, rounds: int = 1) -> Metrics:
    """Send what is due to one receiver, as a process's task does, and return what that counted."""
    metrics = Metrics()
    async with (
        open_pool(metering.dsn, size=2, application_name="test") as pool,
        open_session(ALLOWED) as session,
    ):
        sender = SendWebhooks(pool, session, receiver.as_receiver(), ["crm"], MeteringMetrics(metrics), clock)
        for _ in range(rounds):
            await sender.run_once()
    return metrics


async def command(metering: Metering, receiver: WebhookReceiver, *arguments: str) -> Any:
    variables = {"METERING_WEBHOOKS": receiver.as_setting(), "METERING_WEBHOOK_NETWORKS": LOOPBACK[0]}
    return await run_command("metering", metering.dsn, "webhooks", *arguments, **variables)


def present(clock: MovableClock) -> None:
    """Set the clock right: who verifies a signature looks at its own."""
    clock.advance(seconds=(datetime.now(UTC) - clock.now).total_seconds())
