"""Authorize: decide about each event by its client's policy, and hold what is granted."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import asyncpg

from metering_service.events.decision import Decision
from metering_service.events.event import NOT_DECIDED, RATE_LIMITED, TOO_LATE, BillableEvent
from metering_service.events.hold_store import HoldStore
from metering_service.events.isolation import OF_AN_EVENT, Isolated
from metering_service.metrics import MeteringMetrics
from metering_service.policies.cache import PolicyCache
from metering_service.policies.policy import ClientPolicies, PolicyVersion
from metering_service.rates.connections import CONNECTIONS
from metering_service.rates.limiter import RateLimiter, RateOutcome, Request
from service_chassis.batching import Batcher
from service_chassis.database.clock_watch import ClockWatch
from service_chassis.database.dry_run import open_transaction

_ROUNDS_IN_VAIN = 5
"""How often events are asked about again without a decision, because a policy changes under them."""


@dataclass(slots=True)
class _Question:
    """An event, and what its rates said by the policies that this process knows."""

    event: BillableEvent
    policies: ClientPolicies
    rate: RateOutcome
    shadow_rate: RateOutcome | None

    @property
    def client_id(self) -> str:
        """Whose event it is."""
        return self.event.client_id


_REMEMBERED_CLIENTS = 10_000

_Ask = Callable[[Sequence[_Question]], Awaitable[list[Decision | None]]]


NoteRefusal = Callable[[BillableEvent, Decision], None]
"""Counts a denied event; nobody waits for it."""
NoteShadow = Callable[[BillableEvent, Decision, RateOutcome | None], None]
"""Has an event judged by its client's shadow policy, whose rates said so; None: it has none. Nobody waits for it."""


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
        note_refusal: NoteRefusal,
        note_shadow: NoteShadow,
        metrics: MeteringMetrics,
        *,
        default_policy: str,
    ) -> None:
        self._pool = pool
        self._policies = policies
        self._rates = rates
        self._watch = watch
        self._note_refusal = note_refusal
        self._note_shadow = note_shadow
        self._decided = metrics.decisions
        self._batch_size = metrics.authorize_batch
        self._default_policy = default_policy
        self._refused: set[str] = set()
        """Clients who were refused when they last asked: the statement for those for whom all fits would decide
        nothing for them, and they are spared it."""
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
        decisions = await self._decide(partial(self._ask_dry, service), events, is_dry=True)
        return [
            decision or Decision(event.hold_id, "error", NOT_DECIDED)
            for event, decision in zip(events, decisions, strict=True)
        ]

    async def _decide_batch(
        self, isolated: Isolated[_Question, Decision], asked: list[tuple[BillableEvent, float]]
    ) -> list[Decision]:
        now = time.monotonic()
        in_time = [event for event, until in asked if until > now]
        decided = iter(await self._decide(isolated.run, in_time))
        made = []
        for event, until in asked:
            decision = next(decided) if until > now else Decision(event.hold_id, "error", TOO_LATE)
            made.append(decision or Decision(event.hold_id, "error", NOT_DECIDED))
            if made[-1].decision == "denied":
                self._note_refusal(event, made[-1])
        for labels, count in Counter((decision.decision, decision.code or "") for decision in made).items():
            self._decided(*labels).inc(count)
        return made

    async def _decide(
        self, ask: _Ask, events: Sequence[BillableEvent], *, is_dry: bool = False
    ) -> list[Decision | None]:
        """Ask until no decision is stale; return decisions in order, None for what was not decided."""
        decisions: list[Decision | None] = [None] * len(events)
        pending = [] if self._watch.is_off else list(range(len(events)))
        for _ in range(_ROUNDS_IN_VAIN):
            policies = await self._policies.fetch_of_clients(events[number].client_id for number in pending)
            # Of a client without a policy, the configured default not being there, nothing is decided.
            pending = [number for number in pending if events[number].client_id in policies]
            if not pending:
                break
            questions = await self._prepare([events[number] for number in pending], policies, is_dry=is_dry)
            left = []
            for number, question, decision in zip(pending, questions, await ask(questions), strict=True):
                if decision is not None and decision.decision == "stale":
                    # All new events of this client are: none of them is decided without the ones before it.
                    self._policies.forget(question.client_id)
                    left.append(number)
                elif decision is not None:
                    if decision.code == RATE_LIMITED:
                        # The database does not know how long.
                        decision.retry_after_seconds = question.rate.wait_seconds
                    decisions[number] = decision
                    if not is_dry:
                        self._note_shadow(question.event, decision, question.shadow_rate)
            pending = left
        return decisions

    async def _prepare(
        self, events: Sequence[BillableEvent], policies: Mapping[str, ClientPolicies], *, is_dry: bool
    ) -> list[_Question]:
        requests = [_ask_rates(event, policies[event.client_id].enforced) for event in events]
        for event in events:
            if shadow := policies[event.client_id].shadow:
                requests.append(_ask_rates(event, shadow))
        outcomes = await self._rates.take(requests, is_dry=is_dry)
        beside = iter(outcomes[len(events) :])
        return [
            _Question(event, of_client, rate, next(beside) if of_client.shadow else None)
            for event, of_client, rate in zip(
                events, (policies[event.client_id] for event in events), outcomes, strict=False
            )
        ]

    async def _ask(self, service: str, store: HoldStore, questions: Sequence[_Question]) -> list[Decision | None]:
        decisions = await store.authorize(
            [question.event for question in questions],
            [question.policies for question in questions],
            [question.rate for question in questions],
            service=service,
            default_policy=self._default_policy,
            in_turn=self._refused,
        )
        refused = {
            question.client_id
            for question, decision in zip(questions, decisions, strict=True)
            if decision is not None and decision.decision == "denied"
        }
        if refused or self._refused:
            self._refused.difference_update(question.client_id for question in questions)
            if len(self._refused) < _REMEMBERED_CLIENTS:
                self._refused |= refused
        return decisions

    async def _ask_dry(self, service: str, questions: Sequence[_Question]) -> list[Decision | None]:
        """Ask, and keep nothing. While an account is locked nothing is decided, of none of the events."""
        async with self._pool.acquire() as connection:
            try:
                async with open_transaction(connection, dry_run=True):
                    return await self._ask(service, HoldStore(connection), questions)
            except OF_AN_EVENT:
                return [None] * len(questions)


def _ask_rates(event: BillableEvent, version: PolicyVersion) -> Request:
    return Request(event.client_id, event.user_id, event.event_type, version)
