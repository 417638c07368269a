"""A notice reaches each receiver at least once, signed, under one id, whoever dies or is silent meanwhile."""

import asyncio
import hashlib
import os
import signal
import sys
from collections import Counter

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from local_stack.ports import choose_free_port
from metering_service.notices.notice import TYPES
from metering_service.notices.webhook_store import LEASE_SECONDS
from tests.metering_service.conftest import EVENTS_KEY, Metering, StartMetering
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.webhook_receiver import LOOPBACK, OLD_SECRET, SECRET, WebhookReceiver
from tests.metering_service.webhooks import present, send, states, tell, until
from tests.operator_command import run_command


async def test_what_is_sent_is_a_cloud_event_that_the_standards_own_verifier_accepts_with_either_secret(
    start_metering: StartMetering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    present(clock)
    metering = await start_metering(
        webhooks=(receiver.as_setting("crm", SECRET, OLD_SECRET),), webhook_networks=LOOPBACK
    )
    await tell(metering)
    [told] = await receiver.wait_for(1)
    receiver.verify(0)
    receiver.verify(0, OLD_SECRET)
    headers, body = receiver.came[0]
    receiver.came.append((headers, body.replace(b"acme", b"acne")))
    with pytest.raises(WebhookVerificationError):
        receiver.verify(1)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == told["id"]
    assert set(told) == {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"}
    assert (told["specversion"], told["type"], told["subject"]) == ("1.0", TYPES["quota"], "acme")
    assert told["data"]["threshold"] == 0.05
    await until(metering, 1)


async def test_two_processes_send_each_notice_once(
    start_metering: StartMetering, receiver: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhooks = (receiver.as_setting("crm"), other.as_setting("chat"))
    metering = await start_metering(processes=2, webhooks=webhooks, webhook_networks=LOOPBACK)
    await tell(metering, notices=12)
    await until(metering, 24)
    for each in (receiver, other):
        assert Counter(told["id"] for told in each.events).most_common(1)[0][1] == 1
        assert len(each.events) == 12


async def test_a_silent_receiver_holds_up_no_other(
    start_metering: StartMetering, receiver: WebhookReceiver, other: WebhookReceiver
) -> None:
    receiver.is_open.clear()
    webhooks = (receiver.as_setting("silent"), other.as_setting("chat"))
    metering = await start_metering(webhooks=webhooks, webhook_networks=LOOPBACK)
    await tell(metering)
    await other.wait_for(1)
    await until(metering, 1)
    assert ("silent", "waiting", 0) in await states(metering)


@pytest.mark.system
async def test_a_killed_process_loses_nothing_and_sends_again_under_the_same_id(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock, redis_url: str
) -> None:
    await tell(metering, notices=3)
    receiver.is_open.clear()
    process = await serve(metering, receiver, redis_url)
    try:
        first = {told["id"] for told in await receiver.wait_for(3)}
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        assert await states(metering) == [("crm", "waiting", 0)] * 3
        receiver.is_open.set()
        clock.advance(seconds=LEASE_SECONDS)
        process = await serve(metering, receiver, redis_url)
        told = await receiver.wait_for(6)
        assert len(first) == 3
        assert Counter(each["id"] for each in told) == dict.fromkeys(first, 2)
        await until(metering, 3)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def serve(metering: Metering, receiver: WebhookReceiver, redis_url: str) -> asyncio.subprocess.Process:
    """Start a process of the service as an operator does."""
    variables = {
        "LOCAL_ONLY": "yes",
        "METERING_POSTGRES_DSN": metering.dsn,
        "METERING_REDIS_URL": redis_url,
        "METERING_PORT": str(choose_free_port()),
        "METERING_OPS_PORT": str(choose_free_port()),
        "METERING_SERVICE_KEYS": f"events:tests:{hashlib.sha256(EVENTS_KEY.encode()).hexdigest()}",
        "METERING_WEBHOOKS": receiver.as_setting(),
        "METERING_WEBHOOK_NETWORKS": LOOPBACK[0],
        "METERING_LOG_LEVEL": "error",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metering_service", "serve", env={**os.environ, **variables}
    )


async def test_a_redirect_is_a_failure_and_not_followed(
    metering: Metering, receiver: WebhookReceiver, other: WebhookReceiver, clock: MovableClock
) -> None:
    await tell(metering)
    receiver.status, receiver.headers = 307, {"Location": other.url}
    await send(metering, receiver, clock)
    [webhook] = (await metering.admin("GET", "/internal/webhooks"))["webhooks"]
    assert webhook["lastError"] == "status 307: redirects are not followed"
    assert other.came == []


async def test_an_erased_user_is_not_named_in_what_waits(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    await tell(metering, userId="marked-user")
    receiver.status = 503
    await send(metering, receiver, clock)
    assert receiver.events[0]["data"]["userId"] == "marked-user"
    who = ("--client", "acme", "--user", "marked-user", "--yes")
    assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    clock.advance(minutes=1)
    await send(metering, receiver, clock)
    assert "userId" not in receiver.events[1]["data"]
