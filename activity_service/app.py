"""The service as a web application, and what it opens when it starts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import asyncpg
from aiohttp import web

from activity_service import MIGRATIONS
from activity_service.api import plan_plays as routes
from activity_service.api.auth import TOKEN_VERIFIER
from activity_service.api.description import API, ENDPOINTS
from activity_service.api.responses import render_error
from activity_service.billing.relay import Relay
from activity_service.billing.sweeper import Sweeper
from activity_service.components import Parts, assemble
from activity_service.metrics import ActivityMetrics
from activity_service.plays.store import POOL_SETTINGS, STREAM_POOL_SETTINGS
from activity_service.settings import ActivitySettings
from service_chassis.application import METRICS, READINESS, create_web_app
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.auth.jwks import RemoteKeys
from service_chassis.clock import Clock, system_clock
from service_chassis.database.migrations import check_migrated, list_migrations
from service_chassis.database.pool import check_postgres, create_pool
from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.operations.logging import log_fault
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.openapi.pages import add_endpoints

RELAY = web.AppKey("relay", Relay)
SWEEPER = web.AppKey("sweeper", Sweeper)

CLOSE_TIMEOUT_SECONDS = 3.0
"""How long, at the end, each may take: rounds under way, the relay's last one, a pool."""


def create_app(settings: ActivitySettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application. Its pools, its HTTP session and its background work live from startup to cleanup."""
    app = create_web_app(render_error=render_error, body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES)
    add_endpoints(app, ENDPOINTS, API)
    metrics = ActivityMetrics(app[METRICS])

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            size = settings.postgres_pool_size
            pool = await stack.enter_async_context(_open_pool(settings, size, POOL_SETTINGS))
            stream_pool = await stack.enter_async_context(
                _open_pool(settings, max(2, size // 2), STREAM_POOL_SETTINGS)
            )
            shared_pool = await stack.enter_async_context(
                _open_pool(settings, max(4, size // 4), {**POOL_SETTINGS, **ALL_CLIENTS})
            )
            session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            keys = RemoteKeys(session, settings.jwks_url)
            app[TOKEN_VERIFIER] = TokenVerifier(
                issuer=settings.token_issuer, audience=settings.token_audience, find_key=keys.find, clock=clock
            )
            parts = assemble(
                settings,
                pool=pool,
                stream_pool=stream_pool,
                shared_pool=shared_pool,
                session=session,
                clock=clock,
                metrics=metrics,
            )
            _publish(app, parts)
            _require_readiness(app, pool, keys)
            await stack.enter_async_context(_working(parts))
            yield

    app.cleanup_ctx.append(resources)
    return app


def _publish(app: web.Application, parts: Parts) -> None:
    app[routes.ADMISSION] = parts.admission
    app[routes.CREATE_PLAN_PLAY] = parts.create
    app[routes.READ_PLAN_PLAY] = parts.read
    app[routes.UPDATE_PLAN_PLAY] = parts.update
    app[routes.LIST_PLAN_PLAYS] = parts.lists
    app[RELAY] = parts.relay
    app[SWEEPER] = parts.sweeper


def _require_readiness(app: web.Application, pool: asyncpg.Pool, keys: RemoteKeys) -> None:
    """Name what must work before requests should come. Not metering: without it plays are still read."""
    migrations = list_migrations(MIGRATIONS)
    app[READINESS].require("postgres", lambda: check_postgres(pool))
    app[READINESS].require("migrations", lambda: check_migrated(pool, migrations))
    app[READINESS].require("signing keys", keys.check)


@asynccontextmanager
async def _open_pool(
    settings: ActivitySettings, size: int, server_settings: Mapping[str, str]
) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(
        settings.postgres_dsn,
        size=size,
        application_name="activity_service",
        settings=server_settings,
        role=settings.postgres_role,
    )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await pool.close()
        except (TimeoutError, asyncpg.PostgresError, OSError):
            pool.terminate()


@asynccontextmanager
async def _working(parts: Parts) -> AsyncIterator[None]:
    """Run the background work; at the end let it finish, and settle once more what the last requests left."""
    for task in parts.tasks:
        task.start()
    try:
        yield
    finally:
        await asyncio.gather(*(task.stop(CLOSE_TIMEOUT_SECONDS) for task in parts.tasks))
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await parts.relay.run_once()
        except Exception as error:
            log_fault("last_relay_round_failed", error)
