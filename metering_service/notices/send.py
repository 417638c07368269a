"""Send notices to a receiver, each until it is taken or given up (Standard Webhooks, CloudEvents)."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import structlog
from standardwebhooks import Webhook as Signer

from metering_service.metrics import MeteringMetrics
from metering_service.notices.address import AddressGuard, AddressRefused
from metering_service.notices.notice import TEST_TYPE, Webhook, render_event
from metering_service.notices.webhook_store import WebhookStore
from metering_service.settings import Receiver
from service_chassis.clock import Clock, system_clock
from service_chassis.http.outgoing import describe_fault
from service_chassis.schema.dump import encode_json
from service_chassis.version import VERSION

SEND_INTERVAL_SECONDS = 2.0
"""Pause between two looks for what is due: how much later than the charge a notice may leave."""
WATCH_WEBHOOKS_INTERVAL_SECONDS = 15.0
AT_ONCE = 10
"""Webhooks on their way to one receiver from one process."""
ATTEMPT_SECONDS = 15.0
"""For an attempt as a whole, the name's look-up included. What Standard Webhooks advises, from 15 to 30 s."""
CONNECT_SECONDS = 5.0
RETRY_AFTER_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between an attempt and the next: 5 s, 5 and 30 min, 2, 5, 10, 14, 20 and 24 h, as Standard Webhooks advises. Three
days in all: a receiver that is down over a weekend misses nothing. After the tenth attempt it is given up."""
JITTER = 0.2
"""By so much of itself a pause is longer or shorter: what failed together does not come back together."""
GONE = 410
"""A receiver's word that it wants no more of these: given up at once (Standard Webhooks)."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed: `kind` for the metric, `why` in words, and whether to try again."""

    kind: str
    why: str
    is_final: bool = False


def open_session(guard: AddressGuard) -> aiohttp.ClientSession:
    """Make the HTTP session for webhooks: no cookies, proxies or kept connections, and every wait bounded."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=guard.open_socket),
        timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS, connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"metering/{VERSION}", "Content-Type": "application/cloudevents+json"},
    )


def sign(receiver: Receiver, notice_id: UUID, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with a signature by each of the receiver's secrets."""
    text = body.decode()
    return {
        "webhook-id": str(notice_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(str(notice_id), now, text) for secret in receiver.secrets),
    }


async def post(
    session: aiohttp.ClientSession, receiver: Receiver, notice_id: UUID, event: dict[str, Any], now: datetime
) -> Failure | None:
    """Send an event to a receiver, once; return why that failed, None where it was taken: a 2xx.

    Of the response the status is read and nothing else.
    """
    body = encode_json(event)
    headers = sign(receiver, notice_id, body, now)
    try:
        async with session.post(receiver.url, data=body, headers=headers, allow_redirects=False) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        cause = getattr(error, "os_error", None)
        if isinstance(cause, AddressRefused):
            return Failure("address", str(cause))
        return Failure("timeout" if isinstance(error, TimeoutError) else "connection", describe_fault(error))
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure("redirect", f"status {status}: redirects are not followed")
    return Failure("status", f"status {status}", is_final=status == GONE)


def choose_pause(attempts: int, chance: float) -> timedelta | None:
    """Return when to try again after `attempts` that failed, None for never; `chance` is from 0 to 1."""
    if attempts > len(RETRY_AFTER_SECONDS):
        return None
    return timedelta(seconds=RETRY_AFTER_SECONDS[attempts - 1] * (1 + JITTER * (2 * chance - 1)))


@dataclass(slots=True)
class SendWebhooks:
    """Sends what is due to one receiver; `receivers` are the names of all, which new notices are addressed to.

    Any number may run, in any number of processes, and none holds a transaction or a lock while a receiver is
    asked. Each receiver has a task of its own, so that a silent one holds up no other. Delivery is at least once:
    what a receiver took from a process that died before it was noted is sent again, under the same id.
    """

    pool: asyncpg.Pool
    session: aiohttp.ClientSession
    receiver: Receiver
    receivers: Sequence[str]
    metrics: MeteringMetrics
    clock: Clock = system_clock
    _random: random.Random = field(default_factory=random.SystemRandom)

    async def run_once(self) -> None:
        """Send what is due until nothing is."""
        while True:
            async with self.pool.acquire() as connection:
                store = WebhookStore(connection)
                await store.address(self.receivers)
                due = await store.claim_due(self.receiver.name, AT_ONCE)
            ended = await asyncio.gather(*[self._send(webhook) for webhook in due], return_exceptions=True)
            for fault in ended:
                if fault is not None:
                    raise fault
            if len(due) < AT_ONCE:
                return

    async def _send(self, webhook: Webhook) -> None:
        notice = webhook.notice
        failure = await post(self.session, self.receiver, notice.notice_id, notice.as_event(), self.clock())
        if failure is None:
            await WebhookStore(self.pool).note_delivered(webhook)
            self.metrics.webhooks_delivered.labels(self.receiver.name).inc()
            return
        attempts = webhook.attempts + 1
        again_in = None if failure.is_final else choose_pause(attempts, self._random.random())
        await WebhookStore(self.pool).note_failed(webhook, failure.why, again_in)
        self.metrics.webhooks_failed.labels(self.receiver.name, failure.kind).inc()
        told = {
            "receiver": self.receiver.name,
            "notice_id": str(notice.notice_id),
            "why": failure.why,
            "attempts": attempts,
        }
        if again_in is None:
            _log.error("webhook_dead", **told)
        else:
            _log.warning("webhook_failed", **told, again_in_seconds=round(again_in.total_seconds()))


async def watch_webhooks(pool: asyncpg.Pool, receivers: Sequence[str], metrics: MeteringMetrics) -> None:
    """Read how much is waiting into the gauges that alerts stand on; true also where nothing can be sent."""
    backlog = await WebhookStore(pool).fetch_backlog(receivers)
    metrics.webhooks_dead.set(backlog.dead)
    metrics.oldest_webhook.set(max(backlog.oldest_waiting_seconds, 0.0))


def make_test_event(notice_id: UUID, now: datetime) -> dict[str, Any]:
    """Return an event that is about nobody, to see whether a receiver takes it and accepts its signature."""
    return render_event(notice_id, TEST_TYPE, now, "test", {"message": "A test of this receiver"})
