"""The calls to metering: ask before a fact, tell after it, look for what was left behind, and for a client's usage.

Long because all that bounds how long a call takes is read in one piece.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
import structlog

from metering_client.answers import (
    HeldPage,
    read_decisions,
    read_held_page,
    read_states,
)
from metering_client.errors import (
    EventNotSold,
    MalformedResponse,
    MeteringFault,
    MeteringRefusedCall,
    MeteringSlow,
    MeteringUnavailable,
    NotDecided,
)
from metering_client.event import BillableEvent, Grant, require_event
from metering_client.metrics import BillingMetrics
from metering_client.usage import ClientSummary, DecisionPage, read_decision_page, read_summary
from service_chassis.batching import Batcher
from service_chassis.errors import InvalidRequest, ServiceError
from service_chassis.http.outgoing import OutgoingCall, show_address
from service_chassis.http.request_context import Origin, find_origin

Result = TypeVar("Result")

HELD_PAGE_EVENTS = 500
CALLS_IN_FLIGHT = 8
OVERLAP_SECONDS = 0.05
"""A call that takes longer lets the next one go beside it: while metering is quick, callers share few large calls."""
RETRY_PAUSE_SECONDS = 0.02
RETRY_PAUSE_LIMIT_SECONDS = 0.25
"""After a lost connection: again at once, then after up to 20, 40, ... 250 ms, at random, so that the processes which
a restarting metering lost do not all come back at the same moment."""
AUTHORIZE_PATH = "/internal/events/authorize"
_PATHS = {
    "authorize": AUTHORIZE_PATH,
    "settle": "/internal/events/settle",
    "release": "/internal/events/release",
    "list_held": "/internal/events",
    "summarize": "/internal/clients/{client_id}/summary",
    "list_decisions": "/internal/clients/{client_id}/decisions",
}
_MALFORMED_CALL, _WRONG_KEY = {400, 413, 422}, {401, 403}
_CONNECTION_FAULTS = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
_OF_THE_TIME_LEFT = 0.95
_FASTER_WEIGHT = 0.1
"""Of a call that was quicker than the ones before, in what calls are taken to last; a slower one counts whole."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Question:
    """An event to be authorized, and until when its request waits."""

    event: BillableEvent
    deadline: float


class MeteringClient:
    """Metering's calls for a key of scope `events`. Every wait is bounded by the deadline, all tries together.

    A lost connection is tried again within it, with the same ids: each call may be repeated safely. Nothing but
    a well-formed response counts as one. Every method raises MeteringUnavailable otherwise.
    `resolve_within_seconds` is after how long a hold that nobody settled is given back at the latest, while we live.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        key: str,
        deadline_seconds: float,
        resolve_within_seconds: int,
        metrics: BillingMetrics,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._deadline_seconds = deadline_seconds
        self._resolve_within_seconds = resolve_within_seconds
        self._failures = metrics.metering_failures
        self._call_seconds = 0.0
        self._told_status: int | None = None
        self._questions: Batcher[_Question, Grant] = Batcher(
            self._authorize_batch,
            in_flight=CALLS_IN_FLIGHT,
            overlap_seconds=OVERLAP_SECONDS,
            timeout_seconds=deadline_seconds,
            timeout_error=MeteringUnavailable,
            observe_size=metrics.batch_sizes.labels("authorize").observe,
        )

    def authorize(self, event: BillableEvent) -> Awaitable[Grant]:
        """Ask whether `event` may happen; return what brings the grant to go on with.

        The questions of concurrent requests share a call. Awaiting raises EventRefused when it may not, EventConflict
        when metering knows its ids otherwise, MeteringSlow when there is not enough time to ask. Raises EventInvalid
        at once for what metering would not take.
        """
        require_event(event)
        deadline = asyncio.get_running_loop().time() + self._deadline_seconds
        return self._questions.submit(_Question(event, deadline))

    async def _authorize_batch(self, questions: list[_Question]) -> list[Grant | ServiceError]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        fits = [question.deadline - began > self._call_seconds for question in questions]
        in_time = [question for question, is_in_time in zip(questions, fits, strict=True) if is_in_time]
        if not in_time:
            # Forget it bit by bit: without any attempt it could not be seen to be fast again.
            self._call_seconds *= 1 - _FASTER_WEIGHT
            return [MeteringSlow() for _ in questions]
        events = [question.event for question in in_time]
        seconds_left = max(question.deadline for question in in_time) - began
        try:
            decisions = await self._ask(
                "authorize",
                lambda document: read_decisions(document, events),
                body={
                    "events": [_as_json(event) for event in events],
                    "resolveWithinSeconds": self._resolve_within_seconds,
                },
                origins=_list_origins(events),
                headers={"X-Time-Left-Ms": str(max(1, int(seconds_left * 1000)))},
                # What became of the call is to be known before its callers are gone.
                seconds=seconds_left * _OF_THE_TIME_LEFT,
            )
        finally:
            self._learn(loop.time() - began)
        for decision in decisions:
            if isinstance(decision, EventNotSold):
                _log.error("event_type_not_sold", **decision.for_the_log)
        made = iter(decisions)
        return [next(made) if is_in_time else MeteringSlow() for is_in_time in fits]

    def _learn(self, seconds: float) -> None:
        """Follow how long calls take: a slow one at once, quick ones bit by bit.

        Never more than half of the deadline, so that a caller who has just come is always tried.
        """
        if seconds < self._call_seconds:
            seconds = self._call_seconds + _FASTER_WEIGHT * (seconds - self._call_seconds)
        self._call_seconds = min(seconds, self._deadline_seconds / 2)

    async def settle(self, events: Sequence[BillableEvent], *, whole: bool = False) -> list[str]:
        """Tell that `events`, up to 500, happened; return the state of each, in order: `settled` if all is well.

        Each is charged for its units, be they fewer than were held or more. Told `whole` they are charged also where
        metering knows nothing of them. Raises MeteringRefusedCall when metering does not accept the call as a whole,
        MeteringFault when it fails.
        """
        ids = [event.event_id for event in events]
        return await self._tell_of("settle", events, _as_whole if whole else _as_charge, "eventId", ids)

    async def release(self, events: Sequence[BillableEvent]) -> list[str]:
        """Give back the holds of `events`, up to 500, whose fact will never be; return the state of each, in
        order.
        """
        return await self._tell_of("release", events, _as_ids, "holdId", [event.hold_id for event in events])

    async def _tell_of(
        self,
        call: str,
        events: Sequence[BillableEvent],
        tell: Callable[[BillableEvent], object],
        name: str,
        ids: Sequence[str],
    ) -> list[str]:
        """Tell what became of `events`, each as `tell` has it; return their states, answered by their `ids`."""
        return await self._ask(
            call,
            lambda document: read_states(document, name, ids),
            body={"events": [tell(event) for event in events]},
            origins=_list_origins(events),
            is_part=False,
        )

    async def list_held(self, older_than_seconds: int, cursor: str | None) -> HeldPage:
        """Return a page of the holds that nobody has resolved for so long."""
        query = {"state": "held", "olderThanSeconds": str(older_than_seconds), "limit": str(HELD_PAGE_EVENTS)}
        if cursor is not None:
            query["cursor"] = cursor
        return await self._ask("list_held", read_held_page, query=query)

    async def summarize(self, client_id: str, month: date) -> ClientSummary:
        """Return a client's usage of the month that begins on that day, and its limits and balance at present."""
        query = {"month": f"{month:%Y-%m}"}
        return await self._ask("summarize", read_summary, client_id=client_id, query=query)

    async def list_decisions(
        self, client_id: str, since: date, until: date, limit: int, cursor: str | None
    ) -> DecisionPage:
        """Return a page of a client's charges and refusals of the days from `since` up to `until`, newest first.

        Raises InvalidRequest for a cursor that is none of this list.
        """
        query = {"from": f"{since}T00:00:00Z", "to": f"{until}T00:00:00Z", "limit": str(limit)}
        wrong = None
        if cursor is not None:
            query["cursor"] = cursor
            wrong = InvalidRequest.field("cursor", "Must be a cursor that this same list gave.")
        return await self._ask(
            "list_decisions", read_decision_page, client_id=client_id, query=query, malformed=wrong
        )

    async def _ask(
        self,
        call: str,
        read: Callable[[Any], Result],
        *,
        client_id: str = "",
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        malformed: InvalidRequest | None = None,
        origins: Sequence[Origin] | None = None,
        is_part: bool = True,
    ) -> Result:
        """Send one call, again while the connection is lost and there is time, and read what comes back.

        `malformed` is raised where metering says 400: the mistake is our caller's then. `origins` are the requests
        that the call is made for, if not the present one, and `is_part` says whether they wait for it.
        """
        path = _PATHS[call].format(client_id=quote(client_id, safe=""))
        if origins is None:
            present = find_origin()
            origins = [] if present is None else [present]
        headers = {**self._headers, **(headers or {})}
        outgoing = OutgoingCall(f"metering {call}", origins, headers, is_part=is_part)
        pause_seconds = 0.0
        was_sent = False
        try:
            async with asyncio.timeout(self._deadline_seconds if seconds is None else seconds):
                while True:
                    try:
                        raw = await self._send(outgoing, path, body, query, malformed)
                        break
                    except aiohttp.ClientConnectorError:
                        pass  # nobody was there to hear it
                    except _CONNECTION_FAULTS:
                        was_sent = True
                    await asyncio.sleep(random.uniform(0, pause_seconds))  # noqa: S311 - no secret
                    pause_seconds = min(max(2 * pause_seconds, RETRY_PAUSE_SECONDS), RETRY_PAUSE_LIMIT_SECONDS)
            return read(orjson.loads(raw))
        except MeteringUnavailable:
            self._failures.labels(call).inc()
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._failures.labels(call).inc()
            if isinstance(error, TimeoutError) and pause_seconds and not was_sent:
                raise NotDecided from error
            raise MeteringUnavailable from error
        finally:
            outgoing.end()

    async def _send(
        self,
        outgoing: OutgoingCall,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str] | None,
        malformed: InvalidRequest | None,
    ) -> bytes:
        method = "GET" if body is None else "POST"
        data = None if body is None else orjson.dumps(body)
        # A redirect would take the key and the events to wherever it says.
        async with self._session.request(
            method, self._url + path, data=data, params=query, headers=outgoing.headers, allow_redirects=False
        ) as response:
            outgoing.status = response.status
            if response.status == 200:
                self._told_status = None
                return await response.read()
            if response.status == 400 and malformed is not None:
                raise malformed
            self._tell(response.status)
            if response.status in _MALFORMED_CALL:
                raise MeteringRefusedCall
            if response.status >= 500:
                raise MeteringFault
            raise MalformedResponse(f"status {response.status}")

    def _tell(self, status: int) -> None:
        """Log a response that cannot be used, once per kind: a wrong key or address stays so until a person
        mends it.
        """
        if status != self._told_status:
            self._told_status = status
            why = "it does not accept our service key" if status in _WRONG_KEY else None
            _log.error("metering_call_refused", status=status, metering_url=show_address(self._url), why=why)


def _list_origins(events: Sequence[BillableEvent]) -> list[Origin]:
    return [event.origin for event in events if event.origin is not None]


def _as_ids(event: BillableEvent) -> dict[str, object]:
    return {"clientId": event.client_id, "holdId": event.hold_id, "eventId": event.event_id}


def _as_charge(event: BillableEvent) -> dict[str, object]:
    return {**_as_ids(event), "units": event.units}


def _as_json(event: BillableEvent) -> dict[str, object]:
    document: dict[str, object] = {
        "holdId": event.hold_id,
        "eventId": event.event_id,
        "clientId": event.client_id,
        "eventType": event.event_type,
        "units": event.units,
    }
    if event.user_id is not None:
        document["userId"] = event.user_id
    return document


def _as_whole(event: BillableEvent) -> dict[str, object]:
    return {**_as_json(event), "happenedAt": event.happened_at}
