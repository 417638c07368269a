"""What the service is made of: built once at start, found by the API under one key."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web

from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.create import DATABASE_DEADLINE_SECONDS, CreatePlanPlays
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from activity_service.plays.store import POOL_SETTINGS
from activity_service.plays.update import UpdatePlanPlays
from activity_service.settings import ActivitySettings
from activity_service.usage.read import ReadUsage
from metering_client.billing import Billing, BillingTimes, open_billing
from service_chassis.application import METRICS, READINESS
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.auth.jwks import RemoteKeys
from service_chassis.background import BackgroundTask, run_tasks
from service_chassis.clock import Clock
from service_chassis.database.clock_watch import CLOCK_WATCH_INTERVAL_SECONDS, ClockWatch
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.tenancy import ALL_CLIENTS, check_row_security
from service_chassis.database.turns import PoolMetrics

SCHEMA = Schema.of(Path(__file__).parent, role="activity_service")


@dataclass(frozen=True, slots=True)
class Components:
    """The use cases that calls need, what authenticates callers, and the work beside the calls."""

    verifier: TokenVerifier
    admission: Admission
    create_plays: CreatePlanPlays
    pool: asyncpg.Pool
    update_plays: UpdatePlanPlays
    usage: ReadUsage
    billing: Billing


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application, settings: ActivitySettings, clock: Clock
) -> AsyncIterator[Components]:
    """Open pools and HTTP session and put the service together, with what makes it ready; run the background work.

    Metering is none of what makes it ready: without it plays are still read. At the end all is closed again.
    """
    size, dsn = settings.postgres_pool_size, settings.postgres_dsn
    open_own = partial(
        open_pool,
        application_name="activity_service",
        role=settings.postgres_role,
        is_behind_pooler=settings.postgres_pooler,
        metrics=PoolMetrics(app[METRICS]),
    )
    async with (
        open_own(dsn, name="requests", size=size, settings=POOL_SETTINGS) as pool,
        # Sees the rows of all clients: for statements that many requests share, and for the background work.
        open_own(
            settings.postgres_shared_dsn or dsn,
            name="shared",
            size=max(4, size // 4),
            settings={**POOL_SETTINGS, **ALL_CLIENTS},
        ) as shared_pool,
        # Of its own: however busy requests keep theirs, the process is not taken out of rotation for it.
        open_own(dsn, name="readiness", size=1) as readiness_pool,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        metrics = ActivityMetrics(app[METRICS])
        keys = RemoteKeys(session, settings.jwks_url)
        app[READINESS].require("postgres", lambda: check_postgres(readiness_pool))
        app[READINESS].require("row_security", lambda: check_row_security(readiness_pool))
        # What sets these sessions apart a pooler may refuse or drop, and leave those of readiness as they are.
        app[READINESS].require("sessions", lambda: check_postgres(shared_pool), once=True)
        app[READINESS].require("migrations", lambda: check_schema(readiness_pool, SCHEMA), once=True)
        app[READINESS].require("signing_keys", keys.check)
        watch = ClockWatch(readiness_pool, clock, metrics.clock_apart)
        app[READINESS].require("clock", watch.check)

        comparing = BackgroundTask(
            "clock watch",
            watch.run_once,
            interval_seconds=CLOCK_WATCH_INTERVAL_SECONDS,
            rounds=metrics.background_rounds,
        )
        # As long as a first attempt may take: a caller that still waits after that has waited long enough.
        attempt_seconds = settings.metering_deadline_seconds + DATABASE_DEADLINE_SECONDS
        async with run_tasks([comparing]), _open_billing(settings, shared_pool, metrics) as billing:
            yield Components(
                verifier=TokenVerifier(
                    issuer=settings.token_issuer,
                    audience=settings.token_audience,
                    find_key=keys.find,
                    clock=clock,
                    metrics=app[METRICS],
                ),
                admission=Admission(settings.requests_under_way_limit, metrics),
                create_plays=CreatePlanPlays(
                    shared_pool, billing, attempt_seconds=attempt_seconds, clock=clock, metrics=metrics
                ),
                pool=pool,
                update_plays=UpdatePlanPlays(pool, billing, attempt_seconds, clock),
                usage=ReadUsage(billing.metering, clock),
                billing=billing,
            )


def _open_billing(
    settings: ActivitySettings, pool: asyncpg.Pool, metrics: ActivityMetrics
) -> AbstractAsyncContextManager[Billing]:
    return open_billing(
        pool,
        url=settings.metering_url,
        key=settings.metering_key,
        event_types=OWN_EVENT_TYPES,
        times=BillingTimes(
            deadline=settings.metering_deadline_seconds,
            resolve_after=settings.resolve_after_seconds,
            retention=settings.hold_retention_seconds,
            sweep=settings.sweep_interval_seconds,
            poll=settings.relay_poll_seconds,
        ),
        metrics=metrics,
    )
