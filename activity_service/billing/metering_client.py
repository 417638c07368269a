"""The calls to metering that billing needs: ask before a fact, tell after it, look for what was left behind."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import orjson

from activity_service.billing.event import BillableEvent
from activity_service.billing.metering_answers import (
    HeldPage,
    read_decisions,
    read_held_page,
    read_releases,
    read_settlements,
)
from activity_service.errors import MalformedResponse, MeteringRefusedCall, MeteringUnavailable
from activity_service.metrics import ActivityMetrics
from service_chassis.batching import Batcher
from service_chassis.errors import ServiceError
from service_chassis.http.request_context import onward_headers

Result = TypeVar("Result")

HELD_PAGE_EVENTS = 500
RETRY_PAUSE_SECONDS = 0.02
RETRY_PAUSE_LIMIT_SECONDS = 0.25
"""After a lost connection: again at once, then after up to 20, 40, ... 250 ms, at random, so that the processes which
a restarting metering lost do not all come back at the same moment."""
_PATHS = {
    "authorize": "/internal/events/authorize",
    "settle": "/internal/events/settle",
    "release": "/internal/events/release",
    "list_held": "/internal/events",
}
_MALFORMED_CALL = {400, 413, 422}
_CONNECTION_FAULTS = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


@dataclass(frozen=True, slots=True)
class _Question:
    """An event to be authorized, and what ties the call to the request that asks."""

    event: BillableEvent
    onward: Mapping[str, str]


class MeteringClient:
    """Metering's event calls. Every wait is bounded by the deadline, all tries together.

    A lost connection is tried again within it, with the same ids: each call may be repeated safely. Nothing but
    a well-formed response counts as one. Every method raises MeteringUnavailable otherwise.
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
            timeout_seconds=deadline_seconds,
            observe_size=metrics.batch_sizes.labels("authorize").observe,
        )

    async def authorize(self, event: BillableEvent) -> UUID:
        """Ask whether `event` may happen; return the hold to go on with, which may be an earlier one of the event.

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
            lambda document: read_decisions(document, events),
            body={"events": [_as_json(event) for event in events]},
            onward=questions[0].onward,
        )

    async def settle(self, events: Sequence[BillableEvent]) -> list[str]:
        """Tell that `events`, up to 500, happened; return the state of each, in order: `settled` if all is well.

        Raises MeteringRefusedCall when metering does not accept the call as a whole.
        """
        body = {"events": [_as_json(event) for event in events]}
        return await self._ask("settle", lambda document: read_settlements(document, events), body=body)

    async def release(self, hold_ids: Sequence[UUID]) -> list[str]:
        """Give back holds, up to 500, whose fact will never be; return the state of each, in order."""
        body = {"holdIds": [str(hold_id) for hold_id in hold_ids]}
        return await self._ask("release", lambda document: read_releases(document, hold_ids), body=body)

    async def list_held(self, older_than_seconds: int, cursor: str | None) -> HeldPage:
        """Return a page of the holds that nobody has resolved for so long."""
        query = {"state": "held", "olderThanSeconds": str(older_than_seconds), "limit": str(HELD_PAGE_EVENTS)}
        if cursor is not None:
            query["cursor"] = cursor
        return await self._ask("list_held", read_held_page, query=query)

    async def _ask(
        self,
        call: str,
        read: Callable[[Any], Result],
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        onward: Mapping[str, str] | None = None,
    ) -> Result:
        """Send one call, again while the connection is lost and there is time, and read what comes back."""
        headers = {**self._headers, **(onward or {})}
        pause_seconds = 0.0
        try:
            async with asyncio.timeout(self._deadline_seconds):
                while True:
                    try:
                        raw = await self._send(_PATHS[call], body, query, headers)
                        break
                    except _CONNECTION_FAULTS:
                        await asyncio.sleep(random.uniform(0, pause_seconds))  # noqa: S311 - no secret
                    pause_seconds = min(max(2 * pause_seconds, RETRY_PAUSE_SECONDS), RETRY_PAUSE_LIMIT_SECONDS)
            return read(orjson.loads(raw))
        except (aiohttp.ClientError, OSError, ValueError, MeteringRefusedCall) as error:
            self._failures.labels(call).inc()
            if isinstance(error, MeteringRefusedCall):
                raise
            raise MeteringUnavailable from error

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
                raise MalformedResponse(f"status {response.status}")
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
