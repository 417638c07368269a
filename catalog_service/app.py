"""The application: what it is put together from, and in what order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
from aiohttp import web

from catalog_service.api.description import API, ENDPOINTS
from catalog_service.api.responses import render_error
from catalog_service.clients.states import ClientStates
from catalog_service.components import (
    CLIENT_STATES,
    CLOCK,
    ENCODED_PLANS,
    FAILED_ATTEMPTS,
    PLAN_LISTS,
    POOL,
    SIGNING_KEYS,
    TOKEN_TERMS,
    VERIFIER,
)
from catalog_service.plans.encoded import EncodedPlansCache
from catalog_service.settings import CatalogSettings
from catalog_service.tokens.failed_attempts import FailedAttempts
from catalog_service.tokens.issue import TokenTerms
from catalog_service.tokens.key_ring import SigningKeys
from service_chassis.application import METRICS, READINESS, create_web_app
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.clock import Clock, system_clock
from service_chassis.database.migrations import check_migrated, list_migrations
from service_chassis.database.pool import check_postgres, create_pool
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.openapi.pages import add_endpoints

MIGRATIONS = Path(__file__).parent / "migrations"
_POOL_CLOSE_SECONDS = 3.0


def create_app(settings: CatalogSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the catalog service's application. It opens its connections when it is started."""
    app = create_web_app(render_error=render_error, body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES)
    add_endpoints(app, ENDPOINTS, API)
    app[CLOCK] = clock
    app[TOKEN_TERMS] = TokenTerms(
        settings.token_issuer, settings.token_audience, timedelta(seconds=settings.token_lifetime_seconds)
    )

    async def open_catalog(app: web.Application) -> AsyncIterator[None]:
        pool = await create_pool(
            settings.postgres_dsn,
            size=settings.postgres_pool_size,
            application_name="catalog_service",
            role=settings.postgres_role,
        )
        _add_collaborators(app, settings, clock, pool)
        yield
        try:
            await asyncio.wait_for(pool.close(), _POOL_CLOSE_SECONDS)
        except TimeoutError:
            pool.terminate()

    app.cleanup_ctx.append(open_catalog)
    return app


def _add_collaborators(app: web.Application, settings: CatalogSettings, clock: Clock, pool: asyncpg.Pool) -> None:
    metrics = app[METRICS]
    keys = SigningKeys(pool, clock)
    batch_sizes = metrics.size_histogram("catalog_client_states_batch", "Requests that shared one look at clients.")
    plans = EncodedPlansCache(pool, limit_bytes=settings.encoded_plans_limit_bytes)
    kept_bytes = metrics.gauge("catalog_encoded_plans_bytes", "Memory of the encoded answers of get-plans.")
    kept_bytes.set_function(lambda: plans.kept_bytes)
    app[POOL] = pool
    app[FAILED_ATTEMPTS] = FailedAttempts(clock)
    app[SIGNING_KEYS] = keys
    app[CLIENT_STATES] = ClientStates(pool, observe_size=batch_sizes.observe)
    app[ENCODED_PLANS] = plans
    lists = metrics.counter("catalog_plan_lists", "Answers of get-plans, kept or encoded anew.", ["source"])
    app[PLAN_LISTS] = {source: lists.labels(source) for source in ("kept", "encoded")}
    app[VERIFIER] = TokenVerifier(
        issuer=settings.token_issuer, audience=settings.token_audience, find_key=keys.find_public, clock=clock
    )
    expected = list_migrations(MIGRATIONS)
    app[READINESS].require("postgres", lambda: check_postgres(pool))
    app[READINESS].require("migrations", lambda: check_migrated(pool, expected))
    app[READINESS].require("signing_key", keys.signer)
