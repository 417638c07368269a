"""What is left of a client's limits, for the client to know before it is refused."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

RATE_LIMIT, RATE_LIMIT_POLICY = "RateLimit", "RateLimit-Policy"
_MOST = 10**15 - 1
"""The largest integer of structured fields (RFC 9651, 3.3.1): with a larger one nobody could read the field."""


class Limit(NamedTuple):
    """A rate or a quota after a decision: how much of it is left, and in how many seconds all of it will be."""

    name: str
    limit: int
    remaining: int
    reset_seconds: int


def as_headers(limits: Sequence[Limit]) -> Mapping[str, str]:
    """Return the headers that say so, an item for each limit, none for none.

    Source: draft-ietf-httpapi-ratelimit-headers-10.
    """
    if not limits:
        return {}
    policies, states = [], []
    for name, limit, remaining, reset_seconds in limits:
        quoted = _quote(name)
        policies.append(f"{quoted};q={min(limit, _MOST)}")
        states.append(f"{quoted};r={min(remaining, _MOST)};t={min(reset_seconds, _MOST)}")
    return {RATE_LIMIT_POLICY: ", ".join(policies), RATE_LIMIT: ", ".join(states)}


@lru_cache(maxsize=1000)  # the names of policies' limits, of which there are few
def _quote(name: str) -> str:
    """Write a name as a string of structured fields (RFC 9651, 3.3.3), which are ASCII."""
    plain = "".join(character if " " <= character <= "~" else "?" for character in name)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
