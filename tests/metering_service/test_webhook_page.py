"""What docs/webhooks.md shows of webhooks is what is sent, and what it says of verifying them works."""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson

from metering_service.notices.expiring import note_expiring
from metering_service.notices.notice import TYPES
from metering_service.notices.send import RETRY_AFTER_SECONDS
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import Metering, event
from tests.metering_service.credits import grant
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.webhook_receiver import SECRET, WebhookReceiver
from tests.metering_service.webhooks import present, send

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def shape(told: dict[str, Any]) -> dict[str, Any]:
    """Return the names and the kinds of values."""
    return {name: shape(value) if isinstance(value, dict) else type(value) for name, value in told.items()}


async def test_each_kind_is_shown_as_it_is_sent(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    quota = {"name": "monthly", "limit": 10, "counts": "units", "period": "month", "per": "user"}
    notices = [{"of": "quota:monthly", "at": [0.8]}, {"of": "balance", "at": [100]}]
    await metering.give("acme", grant=100, quotas=[quota], notices=notices)
    await grant(metering, "spring", 10, expiresAt="2026-04-01T00:00:00Z")
    clock.advance(hours=1.75)
    async with open_pool(metering.dsn, size=1, application_name="test") as pool:
        await note_expiring(pool)
    await metering.authorize(attempt := event(userId="ann", units=10))
    await metering.settle_by_ids(attempt)
    await metering.authorize(event(userId="ann", units=1))
    async with asyncio.timeout(30):
        while len(await metering.fetch("SELECT FROM notice")) < 4:
            pass
    await send(metering, receiver, clock)
    sent = {told["type"]: told for told in receiver.events}
    shown = {told["type"]: told for told in map(orjson.loads, blocks("json"))}
    assert sent.keys() == shown.keys() == set(TYPES.values())
    assert {kind: shape(told) for kind, told in shown.items()} == {kind: shape(told) for kind, told in sent.items()}


async def test_both_ways_to_verify_accept_what_is_sent(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock, tmp_path: Path
) -> None:
    present(clock)
    await metering.give("acme", notices=[{"of": "balance", "at": [100]}])
    await metering.settle(event())
    await send(metering, receiver, clock)
    [(headers, body)] = receiver.came
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    assert names["read_webhook"](body, headers, SECRET) == orjson.loads(body)
    (tmp_path / "body.json").write_bytes(body)
    variables = {"WEBHOOK_ID": headers["webhook-id"], "WEBHOOK_TIMESTAMP": headers["webhook-timestamp"]}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", blocks("bash")[0]),
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "SECRET": SECRET, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert headers["webhook-signature"] == f"v1,{printed.decode().strip()}"


def test_the_pauses_are_those_that_the_page_names() -> None:
    assert (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))) == RETRY_AFTER_SECONDS
    assert re.search(r"after 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours", PAGE)
