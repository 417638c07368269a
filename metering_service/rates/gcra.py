"""The generic cell rate algorithm (ITU-T I.371) for several requests and buckets: the specification of `gcra.lua`.

A bucket holds one number, the theoretical arrival time: the moment from which on nothing of the burst is in use. One
request's worth of the burst comes back in `period / limit`, which need not be a whole number of microseconds:
moments are counted in ticks, of which a microsecond has `limit`, so that nothing is rounded. The script keeps whole
microseconds and ticks apart, since its numbers are doubles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True)
class Bucket:
    """A rate of one client or user. `arrival` is in ticks, `period` in microseconds."""

    arrival: int
    limit: int
    period: int
    burst: int


class Taken(NamedTuple):
    """What one request got: how long it would have to wait, 0 when it passes; how much of each bucket was used."""

    wait_seconds: int
    used: tuple[int, ...]


def take(buckets: Sequence[Bucket], now: int, requests: Sequence[Sequence[int]]) -> list[Taken]:
    """Take a place in all of its buckets for each request, or in none of them; change the buckets.

    A request is a list of indexes of buckets; `now` is in microseconds. A bucket from the future, left there by a
    clock that was wrong, counts as one that is all in use. Whoever is refused waits also for those refused before.
    """
    used, waiting = [0] * len(buckets), [0] * len(buckets)
    for index, bucket in enumerate(buckets):
        moment = now * bucket.limit
        # In ticks a request's worth is just `period`, as it is `period / limit` microseconds.
        bucket.arrival = min(max(bucket.arrival, moment), moment + bucket.burst * bucket.period)
        used[index] = -((moment - bucket.arrival) // bucket.period)
    outcomes = []
    for indexes in requests:
        wait_seconds = 0
        for index in indexes:
            bucket = buckets[index]
            excess = bucket.arrival + bucket.period - (now * bucket.limit + bucket.burst * bucket.period)
            if excess > 0:
                ticks = excess + waiting[index] * bucket.period
                wait_seconds = max(wait_seconds, -(-ticks // (bucket.limit * 1_000_000)))
                waiting[index] += 1
        outcomes.append(Taken(wait_seconds, tuple(used[index] for index in indexes)))
        if not wait_seconds:
            for index in indexes:
                buckets[index].arrival += buckets[index].period
                used[index] += 1
    return outcomes
