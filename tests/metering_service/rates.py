"""Requests for places in request rates, as tests make them."""

from collections.abc import Awaitable, Callable

from metering_service.policies.policy import Policy, PolicyVersion, Rate
from metering_service.rates.limiter import RateLimiter, Request, rate_key
from service_chassis.clock import system_clock

StartLimiter = Callable[..., Awaitable[RateLimiter]]


def version_of(*rates: Rate, number: int = 1) -> PolicyVersion:
    now = system_clock()
    return PolicyVersion("p", number, Policy(rates, (), {"*": 0}, "unlimited", "enforce"), now, now)


def ask(client_id: str, version: PolicyVersion, user_id: str | None = None, event_type: str = "t") -> Request:
    return Request(client_id, user_id, event_type, version)


def bucket_of(version: PolicyVersion) -> str:
    return rate_key(ask("acme", version), version.policy.rates[0])
