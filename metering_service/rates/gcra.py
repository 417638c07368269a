"""The generic cell rate algorithm (ITU-T I.371) for several requests at once: the specification of `gcra.lua`.

A bucket holds one number, the theoretical arrival time: the moment from which on nothing of the burst is in use. One
request's worth of the burst comes back in `period / limit`, which need not be a whole number of microseconds:
moments are counted in ticks, of which a microsecond has `limit`, so that nothing is rounded. The script keeps whole
microseconds and ticks apart, since its numbers are doubles.
"""

from typing import NamedTuple


class Taken(NamedTuple):
    """What `requests` at once get: the first `passed` ones pass; the next would in `wait` ticks, else 0.

    `used` is how much of the burst was in use before, `arrival` the bucket after, in ticks.
    """

    used: int
    passed: int
    wait: int
    arrival: int


def take(arrival: int, now: int, *, limit: int, period: int, burst: int, requests: int) -> Taken:
    """Take places for `requests` in a bucket. `arrival` is in ticks, `now` and `period` are in microseconds.

    A bucket from the future, left there by a clock that was wrong, counts as one that is all in use.
    """
    now *= limit
    # In ticks a request's worth is just `period`, as it is `period / limit` microseconds.
    arrival = min(max(arrival, now), now + burst * period)
    used = -((now - arrival) // period)
    passed = max(0, min(requests, (now + burst * period - arrival) // period))
    arrival += passed * period
    wait = arrival + period - burst * period - now if passed < requests else 0
    return Taken(used, passed, wait, arrival)
