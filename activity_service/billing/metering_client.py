"""The calls to metering that billing needs: ask before a fact, tell after it, look for what was left behind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import orjson
import stamina

from activity_service.billing.event import BillableEvent
from activity_service.billing.metering_answers import (
    HeldPage,
    NonsenseAnswer,
    read_decisions,
    read_held_page,
    read_releases,
    read_settlements,
)
from activity_service.errors import MeteringRefusedCall, MeteringUnavailable
from activity_service.metrics import ActivityMetrics
from service_chassis.batching import Batcher
from service_chassis.errors import ServiceError
from service_chassis.http.request_context import onward_headers

Answer = TypeVar("Answer")

HELD_PAGE_EVENTS = 500
_PATHS = {
    "authorize": "/internal/events/authorize",
    "settle": "/internal/events/settle",
    "release": "/internal/events/release",
    "list_held": "/internal/events",
}
_MALFORMED_CALL = {400, 413, 422}
_CONNECTION_FAULTS = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
_RETRY_WAITS: Mapping[str, float] = {"wait_initial": 0.02, "wait_max": 0.25, "wait_jitter": 0.02}


@dataclass(frozen=True, slots=True)
class _Question:
    """An event to be authorized, and what ties the call to the request that asks."""

    event: BillableEvent
    onward: Mapping[str, str]


class MeteringClient:
    """Metering's event calls. Every wait is bounded by the deadline, all tries together.

    A lost connection is tried again within it, with the same ids: each call may be repeated safely. Nothing but
    a well-formed answer counts as one. Every method raises MeteringUnavailable otherwise.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        key: str,
        deadline_seconds: float,
        metrics: ActivityMetrics,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._deadline_seconds = deadline_seconds
        self._failures = metrics.metering_failures
        self._questions: Batcher[_Question, UUID] = Batcher(
            self._authorize_batch,
            patience_seconds=deadline_seconds,
            observe_size=metrics.batch_sizes.labels("authorize").observe,
        )

    async def authorize(self, event: BillableEvent) -> UUID:
        """Ask whether `event` may happen; answer the hold to go on with, which may be an earlier one of the event.

        The questions of concurrent requests share a call. Raises EventRefused when it may not, EventConflict
        when metering knows its ids otherwise.
        """
        try:
            return await self._questions.submit(_Question(event, onward_headers()))
        except TimeoutError as error:
            raise MeteringUnavailable from error

    async def _authorize_batch(self, questions: list[_Question]) -> list[UUID | ServiceError]:
        events = [question.event for question in questions]
        return await self._ask(
            "authorize",
            lambda answer: read_decisions(answer, events),
            body={"events": [_as_json(event) for event in events]},
            onward=questions[0].onward,
        )

    async def settle(self, events: Sequence[BillableEvent]) -> list[str]:
        """Tell that `events`, up to 500, happened; answer the state of each, in order: `settled` if all is well.

        Raises MeteringRefusedCall when metering does not accept the call as a whole.
        """
        body = {"events": [_as_json(event) for event in events]}
        return await self._ask("settle", lambda answer: read_settlements(answer, events), body=body)

    async def release(self, hold_ids: Sequence[UUID]) -> list[str]:
        """Give back holds, up to 500, whose fact will never be; answer the state of each, in order."""
        body = {"holdIds": [str(hold_id) for hold_id in hold_ids]}
        return await self._ask("release", lambda answer: read_releases(answer, hold_ids), body=body)

    async def list_held(self, older_than_seconds: int, cursor: str | None) -> HeldPage:
        """Answer a page of the holds that nobody has resolved for so long."""
        query = {"state": "held", "olderThanSeconds": str(older_than_seconds), "limit": str(HELD_PAGE_EVENTS)}
        if cursor is not None:
            query["cursor"] = cursor
        return await self._ask("list_held", read_held_page, query=query)

    async def _ask(
        self,
        call: str,
        read: Callable[[Any], Answer],
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        onward: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one call, again while the connection is lost and there is time, and read what comes back."""
        headers = {**self._headers, **(onward or {})}
        try:
            async with asyncio.timeout(self._deadline_seconds):
                send = partial(self._send, _PATHS[call], body, query, headers)
                try:
                    raw = await send()
                except _CONNECTION_FAULTS:
                    raw = await self._try_again(send)
            return read(orjson.loads(raw))
        except (aiohttp.ClientError, OSError, ValueError, MeteringRefusedCall) as error:
            self._failures.labels(call).inc()
            if isinstance(error, MeteringRefusedCall):
                raise
            raise MeteringUnavailable from error

    async def _try_again(self, send: Callable[[], Awaitable[bytes]]) -> bytes:
        """Go on after a first try; apart from it, because getting ready to retry costs half as much as a call."""
        async for attempt in stamina.retry_context(
            on=_CONNECTION_FAULTS, attempts=None, timeout=self._deadline_seconds, **_RETRY_WAITS
        ):
            with attempt:
                raw = await send()
        return raw

    async def _send(
        self,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> bytes:
        method = "GET" if body is None else "POST"
        data = None if body is None else orjson.dumps(body)
        # A redirect would take the key and the events to wherever it says.
        async with self._session.request(
            method, self._url + path, data=data, params=query, headers=headers, allow_redirects=False
        ) as response:
            if response.status in _MALFORMED_CALL:
                raise MeteringRefusedCall
            if response.status != 200:
                raise NonsenseAnswer(f"status {response.status}")
            return await response.read()


def _as_json(event: BillableEvent) -> dict[str, object]:
    document: dict[str, object] = {
        "holdId": str(event.hold_id),
        "eventId": event.event_id,
        "clientId": event.client_id,
        "eventType": event.event_type,
        "units": event.units,
    }
    if event.user_id is not None:
        document["userId"] = event.user_id
    return document
