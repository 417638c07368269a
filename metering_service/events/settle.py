"""Settle (capture): charge facts, once it is known that they happened."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import asyncpg

from metering_service.events.event import NOT_DECIDED, SettledEvent, Settlement
from metering_service.events.hold_store import HoldStore
from metering_service.events.isolation import Isolated
from metering_service.metrics import MeteringMetrics
from metering_service.policies.cache import PolicyCache
from metering_service.policies.policy import PolicyVersion
from service_chassis.batching import Batcher

_IN_FLIGHT = 2
_ROUNDS_IN_VAIN = 5
"""How often late facts are tried again, because a policy changes under them."""


class SettleEvents:
    """Charges facts, gathered, each for itself: again and again the same outcome, one ledger line an event."""

    def __init__(
        self, pool: asyncpg.Pool, policies: PolicyCache, metrics: MeteringMetrics, *, default_policy: str
    ) -> None:
        self._pool = pool
        self._policies = policies
        self._charged, self._credits = metrics.charged, metrics.credits_charged
        self._batch_size = metrics.settle_batch
        self._default_policy = default_policy
        self._batchers: dict[str, Batcher[SettledEvent, Settlement]] = {}

    async def settle(self, events: Sequence[SettledEvent], *, service: str) -> list[Settlement]:
        """Charge `events`, whose holds are `service`'s; return settlements in order.

        Raises OSError, TimeoutError or PostgresError.
        """
        batcher = self._batchers.get(service)
        if batcher is None:
            isolated = Isolated(self._pool, partial(self._ask, service), "settle")
            batcher = self._batchers[service] = Batcher(
                partial(self._settle_batch, isolated), in_flight=_IN_FLIGHT, observe_size=self._batch_size.observe
            )
        return await batcher.submit_all(events)

    async def _settle_batch(
        self, isolated: Isolated[SettledEvent, Settlement], events: list[SettledEvent]
    ) -> list[Settlement]:
        outcomes = await isolated.run(events)
        settlements = [
            outcome or Settlement(event.hold_id, "error", NOT_DECIDED)
            for event, outcome in zip(events, outcomes, strict=True)
        ]
        charged = Counter(settlement.late for settlement in settlements if settlement.is_first)
        for late, number in charged.items():
            self._charged[bool(late)].inc(number)
        self._credits.inc(sum(settlement.credits or 0 for settlement in settlements if settlement.is_first))
        return settlements

    async def _ask(self, service: str, store: HoldStore, events: Sequence[SettledEvent]) -> list[Settlement | None]:
        settlements = await store.settle_held(events, service=service)
        for _ in range(_ROUNDS_IN_VAIN):
            left = [
                n for n, settlement in enumerate(settlements) if settlement is None or settlement.state == "stale"
            ]
            if not left:
                break
            others = [events[n] for n in left]
            outcomes = await store.settle_others(
                others, await self._find_policies(store, others), service=service, default_policy=self._default_policy
            )
            for n, outcome in zip(left, outcomes, strict=True):
                settlements[n] = outcome
            stale = {event.client_id for event, outcome in zip(others, outcomes, strict=True) if _is_stale(outcome)}
            if not stale:
                break
            for client_id in stale:
                self._policies.forget(client_id)
        return [None if _is_stale(settlement) else settlement for settlement in settlements]

    async def _find_policies(self, store: HoldStore, events: Sequence[SettledEvent]) -> dict[str, PolicyVersion]:
        """Return the policies of those whose events are told whole, and so may be charged without a hold."""
        policies = await self._policies.fetch_of_clients(
            (event.client_id for event in events if event.event_type is not None), store.connection
        )
        return {client_id: each.enforced for client_id, each in policies.items()}


def _is_stale(settlement: Settlement | None) -> bool:
    return settlement is not None and settlement.state == "stale"
