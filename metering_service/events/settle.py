"""Settle (capture): charge facts, once it is known that they happened."""

from collections import Counter
from collections.abc import Sequence

import asyncpg

from metering_service.events.event import BillableEvent, Settlement, split_repeated
from metering_service.events.hold_store import RETRYABLE, HoldStore
from metering_service.metrics import MeteringMetrics
from service_chassis.batching import Batcher
from service_chassis.clock import Clock


class SettleEvents:
    """Charges facts, gathered: again and again the same outcome, one ledger line an event."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, metrics: MeteringMetrics, *, default_policy: str) -> None:
        self._pool = pool
        self._clock = clock
        self._charged = metrics.charged
        self._default_policy = default_policy
        self._batcher = Batcher(self._settle_batch, isolate_on=RETRYABLE, observe_size=metrics.settle_batch.observe)

    async def settle(self, events: Sequence[BillableEvent]) -> list[Settlement]:
        """Charge `events`, each for itself; return settlements in order.

        Raises OSError, TimeoutError or PostgresError.
        """
        return await self._batcher.submit_all(events)

    async def _settle_batch(self, events: list[BillableEvent]) -> list[Settlement]:
        settlements: dict[int, Settlement] = {}
        settled: set[str] = set()
        pending = list(range(len(events)))
        while pending:
            # One statement charges an event once, and for a hold one event; whoever names either again finds what the
            # statement before has made of it. Nothing more is charged for what is settled: all of that goes together.
            indexes = [index for index in pending if events[index].event_id in settled]
            if indexes:
                pending = [index for index in pending if events[index].event_id not in settled]
            else:
                indexes, pending = split_repeated(pending, events)
            batch = [events[index] for index in indexes]
            async with self._pool.acquire() as connection:
                made = await HoldStore(connection).settle_events(batch, self._default_policy, self._clock())
            charged: Counter[bool | None] = Counter()
            for index, settlement in zip(indexes, made, strict=True):
                settlements[index] = settlement
                if settlement.state == "settled":
                    settled.add(settlement.event_id)
                if settlement.is_charged:
                    charged[settlement.late] += 1
            for late, number in charged.items():
                self._charged.labels(str(late).lower()).inc(number)
        return [settlements[index] for index in range(len(events))]
