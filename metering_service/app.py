"""The application: what it is made of, in the order in which it comes up."""

from collections.abc import AsyncIterator

from aiohttp import web

from metering_service import MIGRATIONS
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.ledger_store import AccountStore
from metering_service.api import charges, events, policies
from metering_service.api import clients as accounts
from metering_service.api import responses as answers
from metering_service.api.auth import ServiceKeys
from metering_service.api.responses import render_error
from metering_service.components import METERING, Metering
from metering_service.events.authorize import AuthorizeEvents
from metering_service.events.hold_store import HoldStore
from metering_service.events.settle import ReleaseHolds, SettleEvents
from metering_service.policies.store import PolicyStore
from metering_service.rates.limiter import RateLimiter
from metering_service.settings import MeteringSettings
from service_chassis.application import METRICS, READINESS, create_web_app
from service_chassis.clock import Clock, system_clock
from service_chassis.database.migrations import check_migrated, list_migrations
from service_chassis.database.pool import create_pool
from service_chassis.http.cursor import CursorSigner
from service_chassis.http.query import known_query_middleware
from service_chassis.openapi.pages import add_endpoints

ENDPOINTS = (*events.ENDPOINTS, *policies.ENDPOINTS, *accounts.ENDPOINTS, *charges.ENDPOINTS)

BODY_LIMIT_BYTES = 1024 * 1024
"""500 events with the longest ids that are accepted fit."""


def create_app(settings: MeteringSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the internal API. Raises InvalidSettings."""
    app = create_web_app(render_error=render_error, body_limit_bytes=BODY_LIMIT_BYTES)
    service_keys = ServiceKeys(settings.service_keys)

    async def wire(app: web.Application) -> AsyncIterator[None]:
        metrics = app[METRICS]
        pool = await create_pool(
            settings.postgres_dsn, size=settings.postgres_pool_size, application_name="metering_service"
        )
        rates = RateLimiter(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds, metrics=metrics)
        holds = HoldStore(pool, default_policy=settings.default_policy)
        store = AccountStore(pool)
        versions = PolicyStore(pool, default_policy=settings.default_policy)
        app[METERING] = Metering(
            authorize=AuthorizeEvents(holds, versions, rates, clock=clock, metrics=metrics),
            settle=SettleEvents(holds, clock=clock, metrics=metrics),
            release=ReleaseHolds(holds, clock=clock),
            administer=AdministerAccounts(pool, store, versions, holds, clock=clock),
            holds=holds,
            accounts=store,
            policies=versions,
            service_keys=service_keys,
            cursors=CursorSigner(settings.cursor_secret),
            clock=clock,
            default_policy=settings.default_policy,
        )
        migrations = list_migrations(MIGRATIONS)
        # Redis is not a condition: without it rates are open, and everything else goes on.
        app[READINESS].require("postgres", lambda: check_migrated(pool, migrations))
        yield
        await rates.close()
        await pool.close()

    app.cleanup_ctx.append(wire)
    add_endpoints(app, ENDPOINTS, answers.API)
    app.middlewares.append(known_query_middleware(ENDPOINTS))
    return app
