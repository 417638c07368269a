"""The generic cell rate algorithm (ITU-T I.371) for several requests at once: the specification of `gcra.lua`.

A bucket holds one number, the theoretical arrival time: the moment from which on nothing of the burst is in use. All
times are microseconds. The script's numbers are doubles: it does the same while they stay below 2**53.
"""

from typing import NamedTuple


class Taken(NamedTuple):
    """What `requests` at once get: the first `passed` ones pass, and the next would in `wait_microseconds`, else 0.

    `used` is how much of the burst was in use before, `arrival` the bucket after.
    """

    used: int
    passed: int
    wait_microseconds: int
    arrival: int


def take(arrival: int, now: int, *, interval: int, burst: int, requests: int) -> Taken:
    """Take places for `requests` in a bucket; one's worth of the burst comes back in `interval`."""
    arrival = max(arrival, now)
    used = -((now - arrival) // interval)
    passed = max(0, min(requests, (now + burst * interval - arrival) // interval))
    arrival += passed * interval
    wait = arrival + interval - burst * interval - now if passed < requests else 0
    return Taken(used, passed, wait, arrival)
