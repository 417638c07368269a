"""Authorize: decide about each event by its client's policy, and hold what is granted."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import asyncpg

from metering_service.events.event import NOT_DECIDED, RATE_LIMITED, TOO_LATE, BillableEvent, Decision
from metering_service.events.hold_store import HoldStore
from metering_service.events.isolation import OF_AN_EVENT, Isolated
from metering_service.metrics import MeteringMetrics
from metering_service.policies.cache import PolicyCache
from metering_service.policies.policy import PolicyVersion
from metering_service.rates.limiter import CONNECTIONS, RateLimiter, RateOutcome, Request
from service_chassis.batching import Batcher
from service_chassis.database.clock_watch import ClockWatch

_ROUNDS_IN_VAIN = 5
"""How often events are asked about again without a decision, because a policy changes under them."""


@dataclass(slots=True)
class _Question:
    """An event, and what its rate said by the policy version that this process knows."""

    event: BillableEvent
    version: PolicyVersion
    rate: RateOutcome

    @property
    def client_id(self) -> str:
        """Whose event it is."""
        return self.event.client_id


class NoteRefusal(Protocol):
    """Keeps what was refused; nobody waits for it."""

    def note(self, event: BillableEvent, decision: Decision) -> None:
        """Count a denied event."""


class AuthorizeEvents:
    """Gathers the events of a service's requests into batches: one Redis call, one statement, one commit each.

    Gates in order: rate, quota, credits. An event that is held or charged already is granted without passing
    them again; the database finds that out, so a refused rate is only its advice. Batches in flight at once are to
    each other what two processes are: the account locks put them in order.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        policies: PolicyCache,
        rates: RateLimiter,
        watch: ClockWatch,
        refusals: NoteRefusal,
        metrics: MeteringMetrics,
        *,
        default_policy: str,
    ) -> None:
        self._pool = pool
        self._policies = policies
        self._rates = rates
        self._watch = watch
        self._refusals = refusals
        self._decided = metrics.decisions
        self._batch_size = metrics.authorize_batch
        self._default_policy = default_policy
        self._batchers: dict[str, Batcher[tuple[BillableEvent, float], Decision]] = {}

    async def authorize(self, events: Sequence[BillableEvent], *, service: str, until: float) -> list[Decision]:
        """Decide about `events`, each for itself; return decisions in order. What is granted is `service`'s.

        Nothing is decided after `until`, a moment of the monotonic clock. Raises OSError, TimeoutError or
        PostgresError.
        """
        batcher = self._batchers.get(service)
        if batcher is None:
            isolated = Isolated(self._pool, partial(self._ask, service), "authorize")
            batcher = self._batchers[service] = Batcher(
                partial(self._decide_batch, isolated), in_flight=CONNECTIONS, observe_size=self._batch_size.observe
            )
        return await batcher.submit_all([(event, until) for event in events])

    async def try_out(self, events: Sequence[BillableEvent], *, service: str) -> list[Decision]:
        """Return what would be decided about `events` now, each after those before it; nothing is kept.

        Decides as `authorize` does, in a transaction that is rolled back. Raises OSError, TimeoutError or
        PostgresError.
        """
        decisions: list[Decision | None] = [None] * len(events)
        if not self._watch.is_off:
            for _ in range(_ROUNDS_IN_VAIN):
                questions = await self._prepare(events, is_dry=True)
                async with self._pool.acquire() as connection:
                    transaction = connection.transaction()
                    await transaction.start()
                    try:
                        decisions = await self._ask(service, HoldStore(connection), questions)
                    except OF_AN_EVENT:
                        decisions = [None] * len(events)  # an account is locked: say so of all
                    finally:
                        await transaction.rollback()
                stale = [
                    each for each, made in zip(questions, decisions, strict=True) if made and made.decision == "stale"
                ]
                if not stale:
                    break
                for question in stale:
                    self._policies.forget(question.client_id)
                decisions = [None] * len(events)
            for question, decision in zip(questions, decisions, strict=True):
                _tell_wait(question, decision)
        return [
            decision or Decision(event.hold_id, "error", NOT_DECIDED)
            for event, decision in zip(events, decisions, strict=True)
        ]

    async def _decide_batch(
        self, isolated: Isolated[_Question, Decision], asked: list[tuple[BillableEvent, float]]
    ) -> list[Decision]:
        decisions: list[Decision | None] = [None] * len(asked)
        now = time.monotonic()
        pending = [number for number, (_, until) in enumerate(asked) if until > now]
        in_time = set(pending)
        if self._watch.is_off:
            pending = []
        for _ in range(_ROUNDS_IN_VAIN):
            if not pending:
                break
            questions = await self._prepare([asked[number][0] for number in pending])
            left = []
            for number, question, decision in zip(pending, questions, await isolated.run(questions), strict=True):
                if decision is not None and decision.decision == "stale":
                    self._policies.forget(question.client_id)
                    left.append(number)
                elif decision is not None:
                    _tell_wait(question, decision)
                    decisions[number] = decision
            pending = left
        made = [
            decision or Decision(event.hold_id, "error", NOT_DECIDED if number in in_time else TOO_LATE)
            for number, ((event, _), decision) in enumerate(zip(asked, decisions, strict=True))
        ]
        for (event, _), decision in zip(asked, made, strict=True):
            if decision.decision == "denied":
                self._refusals.note(event, decision)
        for labels, count in Counter((decision.decision, decision.code or "") for decision in made).items():
            self._decided(*labels).inc(count)
        return made

    async def _prepare(self, events: Sequence[BillableEvent], *, is_dry: bool = False) -> list[_Question]:
        versions = await self._policies.fetch_of_clients(event.client_id for event in events)
        of_event = [versions[event.client_id] for event in events]
        rates = await self._rates.take(
            [
                Request(event.client_id, event.user_id, event.event_type, version)
                for event, version in zip(events, of_event, strict=True)
            ],
            is_dry=is_dry,
        )
        return [_Question(*each) for each in zip(events, of_event, rates, strict=True)]

    async def _ask(self, service: str, store: HoldStore, questions: Sequence[_Question]) -> list[Decision | None]:
        return await store.authorize(
            [question.event for question in questions],
            [question.version for question in questions],
            [question.rate for question in questions],
            service=service,
            default_policy=self._default_policy,
        )


def _tell_wait(question: _Question, decision: Decision | None) -> None:
    """Say of one who was refused by a rate how long to wait: the database does not know."""
    if decision is not None and decision.code == RATE_LIMITED:
        decision.retry_after_seconds = question.rate.wait_seconds
