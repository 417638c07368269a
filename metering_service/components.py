"""What the service is made of: built once at start, found by the API under one key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.quota import ReadQuotas
from metering_service.events.authorize import AuthorizeEvents
from metering_service.events.read import ReadEvents
from metering_service.events.release import ReleaseHolds
from metering_service.events.settle import SettleEvents
from metering_service.metrics import MeteringMetrics
from metering_service.policies.administer import AdministerPolicies
from metering_service.policies.cache import PolicyCache
from metering_service.rates.limiter import RateLimiter
from metering_service.settings import MeteringSettings, ServiceKey
from service_chassis.application import METRICS, READINESS
from service_chassis.clock import Clock
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool

SCHEMA = Schema.of(Path(__file__).parent)

ACQUIRE_TIMEOUT_SECONDS = 1.0
"""How long a batch waits for a connection: callers wait 2 s for all of a decision."""


@dataclass(frozen=True, slots=True)
class Components:
    """The use cases that calls need, and the keys that callers have, by their SHA-256."""

    service_keys: Mapping[bytes, ServiceKey]
    authorizations: AuthorizeEvents
    settlements: SettleEvents
    releases: ReleaseHolds
    events: ReadEvents
    policies: AdministerPolicies
    accounts: AdministerAccounts
    quotas: ReadQuotas


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application, settings: MeteringSettings, service_keys: Mapping[bytes, ServiceKey], clock: Clock
) -> AsyncIterator[Components]:
    """Open PostgreSQL and Redis and put the service together, with what makes it ready; close them at the end."""
    metrics = MeteringMetrics(app[METRICS])
    default_policy = settings.default_policy
    async with (
        open_pool(
            settings.postgres_dsn,
            size=settings.postgres_pool_size,
            application_name="metering_service",
            acquire_seconds=ACQUIRE_TIMEOUT_SECONDS,
        ) as pool,
        aclosing(
            RateLimiter(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds, metrics=metrics)
        ) as rates,
    ):
        # Redis is not a condition: without it requests pass their rates unchecked, and everything else goes on.
        app[READINESS].require("postgres", lambda: check_postgres(pool))
        app[READINESS].require("migrations", lambda: check_schema(pool, SCHEMA))
        policies = PolicyCache(pool, default_policy=default_policy)
        yield Components(
            service_keys=service_keys,
            authorizations=AuthorizeEvents(pool, policies, rates, clock, metrics, default_policy=default_policy),
            settlements=SettleEvents(pool, clock, metrics, default_policy=default_policy),
            releases=ReleaseHolds(pool, clock),
            events=ReadEvents(pool, clock),
            policies=AdministerPolicies(pool, clock),
            accounts=AdministerAccounts(pool, clock),
            quotas=ReadQuotas(pool, clock, default_policy),
        )
