"""Authorize: decide about each event by its client's policy, and hold what is granted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg

from metering_service.events.event import (
    EVENT_WITH_OTHER_CONTENT,
    RATE_LIMITED,
    BillableEvent,
    Decision,
    split_repeated,
)
from metering_service.events.hold_store import RETRYABLE, HoldStore
from metering_service.metrics import MeteringMetrics
from metering_service.policies.cache import PolicyCache
from metering_service.policies.policy import seconds_until_period_ends, whole_seconds
from metering_service.rates.limiter import RateLimiter, RateOutcome
from service_chassis.batching import Batcher
from service_chassis.clock import Clock

_ROUNDS_IN_VAIN = 5
"""How often a batch is asked again without any decision, because a policy changed under it."""

_IN_FLIGHT = 2
"""Batches at once: while PostgreSQL decides and writes one, the next is made ready here. Two of one process are to
each other what two processes are: the account locks put them in order."""


class AuthorizeEvents:
    """Gathers the events of all requests into batches: one Redis call, one statement, one commit each.

    Gates in order: rate, quota, credits. An event that is held or settled already is granted without passing
    them again; the database finds that out, so a refused rate is only its advice.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        policies: PolicyCache,
        rates: RateLimiter,
        clock: Clock,
        metrics: MeteringMetrics,
        *,
        default_policy: str,
    ) -> None:
        self._pool = pool
        self._policies = policies
        self._rates = rates
        self._clock = clock
        self._decided = metrics.decisions
        self._default_policy = default_policy
        self._batcher = Batcher(
            self._decide_batch,
            in_flight=_IN_FLIGHT,
            isolate_on=RETRYABLE,
            observe_size=metrics.authorize_batch.observe,
        )

    async def authorize(self, events: Sequence[BillableEvent]) -> list[Decision]:
        """Decide about `events`, each for itself; return decisions in order.

        Raises OSError, TimeoutError or PostgresError.
        """
        return await self._batcher.submit_all(events)

    async def _decide_batch(self, events: list[BillableEvent]) -> list[Decision | BaseException]:
        decisions: dict[int, Decision] = {}
        pending = list(range(len(events)))
        rounds_in_vain = 0
        while pending and rounds_in_vain < _ROUNDS_IN_VAIN:
            first, again = split_repeated(pending, events)
            await self._decide(first, events, decisions)
            # A further attempt at an event of this batch gets the first one's hold, or is refused like it: at the
            # same moment, for the same reason.
            leaders = {events[index].event_id: index for index in first}
            granted = []
            for index in again:
                leader = leaders.get(events[index].event_id)
                decision = decisions.get(leader) if leader is not None else None
                if leader is None or decision is None:
                    continue
                if decision.decision == "granted":
                    granted.append(index)
                elif decision.decision == "denied" or (
                    decision.code == EVENT_WITH_OTHER_CONTENT and events[index].says_the_same_as(events[leader])
                ):
                    decisions[index] = replace(decision, hold_id=events[index].hold_id)
            await self._decide(granted, events, decisions)
            left = [index for index in pending if index not in decisions]
            rounds_in_vain = rounds_in_vain + 1 if len(left) == len(pending) else 0
            pending = left
        undecided = TimeoutError("policies change faster than decisions are made")
        return [decisions.get(index, undecided) for index in range(len(events))]

    async def _decide(
        self, indexes: Sequence[int], events: Sequence[BillableEvent], decisions: dict[int, Decision]
    ) -> None:
        """Decide about the events at `indexes` into `decisions`; leave out those whose policy has just changed."""
        if not indexes:
            return
        batch = [events[index] for index in indexes]
        versions = await self._policies.fetch_of_clients(event.client_id for event in batch)
        of_event = [versions[event.client_id] for event in batch]
        rates = await self._rates.take(
            [(event.client_id, version) for event, version in zip(batch, of_event, strict=True)]
        )
        now = self._clock()
        async with self._pool.acquire() as connection:
            made = await HoldStore(connection).insert_holds(batch, of_event, rates, self._default_policy, now)
        decided: Counter[tuple[str, str]] = Counter()
        for index, event, rate, decision in zip(indexes, batch, rates, made, strict=True):
            if decision.decision == "stale":
                self._policies.forget(event.client_id)
                continue
            if decision.decision == "denied":
                decision.retry_after_seconds = _retry_after(decision, rate, now)
            decisions[index] = decision
            decided[decision.decision, decision.code or ""] += 1
        for labels, number in decided.items():
            self._decided(*labels).inc(number)


def _retry_after(denied: Decision, rate: RateOutcome, now: datetime) -> int | None:
    if denied.code == RATE_LIMITED:
        return whole_seconds(rate.wait_microseconds)
    return seconds_until_period_ends(denied.quota_period, now) if denied.quota_period is not None else None
