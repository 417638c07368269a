"""What the service is made of: built once at start, found by the API under one key."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web

from activity_service.billing.event import BillableEvent
from activity_service.billing.metering_check import RECHECK_INTERVAL_SECONDS, MeteringCheck
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.relay import GATHER_SECONDS, WATCH_INTERVAL_SECONDS, Relay
from activity_service.billing.sweeper import Sweeper
from activity_service.billing.usage_read import ReadUsage
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.create import DATABASE_DEADLINE_SECONDS, CreatePlanPlays
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from activity_service.plays.read import ReadPlanPlays
from activity_service.plays.store import POOL_SETTINGS
from activity_service.plays.update import UpdatePlanPlays
from activity_service.settings import ActivitySettings
from service_chassis.application import METRICS, READINESS
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.auth.jwks import RemoteKeys
from service_chassis.background import BackgroundTask, run_tasks
from service_chassis.clock import Clock
from service_chassis.database.clock_watch import CLOCK_WATCH_INTERVAL_SECONDS, ClockWatch
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.tenancy import ALL_CLIENTS

SCHEMA = Schema.of(Path(__file__).parent, role="activity_service")


@dataclass(frozen=True, slots=True)
class Components:
    """The use cases that calls need, what authenticates callers, and the work beside the calls."""

    verifier: TokenVerifier
    admission: Admission
    create_plays: CreatePlanPlays
    read_plays: ReadPlanPlays
    update_plays: UpdatePlanPlays
    usage: ReadUsage
    relay: Relay
    sweeper: Sweeper


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application, settings: ActivitySettings, clock: Clock
) -> AsyncIterator[Components]:
    """Open pools and HTTP session and put the service together, with what makes it ready; run the background work.

    Metering is none of what makes it ready: without it plays are still read. At the end all is closed again.
    """
    size = settings.postgres_pool_size
    async with (
        _open_pool(settings, size, POOL_SETTINGS) as pool,
        # Sees the rows of all clients: for statements that many requests share, and for the background work.
        _open_pool(settings, max(4, size // 4), {**POOL_SETTINGS, **ALL_CLIENTS}) as shared_pool,
        # Of its own: however busy requests keep theirs, the process is not taken out of rotation for it.
        _open_pool(settings, 1, {}) as readiness_pool,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        metrics = ActivityMetrics(app[METRICS])
        keys = RemoteKeys(session, settings.jwks_url)
        app[READINESS].require("postgres", lambda: check_postgres(readiness_pool))
        app[READINESS].require("migrations", lambda: check_schema(readiness_pool, SCHEMA), once=True)
        app[READINESS].require("signing_keys", keys.check)
        watch = ClockWatch(readiness_pool, clock, metrics.clock_apart)
        app[READINESS].require("clock", watch.check)

        retention = timedelta(seconds=settings.hold_retention_seconds)
        metering = MeteringClient(
            session,
            url=settings.metering_url,
            key=settings.metering_key,
            deadline_seconds=settings.metering_deadline_seconds,
            resolve_within_seconds=settings.resolve_after_seconds + math.ceil(settings.sweep_interval_seconds),
            metrics=metrics,
        )
        relay = Relay(shared_pool, metering, metrics)
        sweeper = Sweeper(
            shared_pool, metering, relay, metrics, OWN_EVENT_TYPES, settings.resolve_after_seconds, retention
        )
        make_task = partial(BackgroundTask, rounds=metrics.background_rounds)
        settling = make_task(
            "relay",
            relay.settle_committed,
            interval_seconds=WATCH_INTERVAL_SECONDS,
            gather_seconds=GATHER_SECONDS,
        )
        polling = make_task(
            "outbox poll",
            relay.settle_due,
            interval_seconds=settings.relay_poll_seconds,
        )
        sweeping = make_task(
            "sweeper",
            sweeper.run_once,
            interval_seconds=settings.sweep_interval_seconds,
        )
        watching = make_task(
            "outbox watch",
            relay.watch_once,
            interval_seconds=WATCH_INTERVAL_SECONDS,
        )

        comparing = make_task(
            "clock watch",
            watch.run_once,
            interval_seconds=CLOCK_WATCH_INTERVAL_SECONDS,
        )

        asking = make_task(
            "metering check",
            MeteringCheck(session, settings.metering_url, settings.metering_key, metrics).run_once,
            interval_seconds=RECHECK_INTERVAL_SECONDS,
        )

        def settle_soon(event: BillableEvent) -> None:
            relay.remember(event)
            settling.kick()

        async def finish() -> None:
            await relay.settle_committed()
            await sweeper.finish()

        read_plays = ReadPlanPlays(pool)
        # As long as a first attempt may take: a caller that still waits after that has waited long enough.
        attempt_seconds = settings.metering_deadline_seconds + DATABASE_DEADLINE_SECONDS
        async with run_tasks([settling, polling, sweeping, watching, comparing, asking], last_round=finish):
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
                    shared_pool,
                    metering,
                    sweeper,
                    settle_soon=settle_soon,
                    attempt_seconds=attempt_seconds,
                    retention=retention,
                    clock=clock,
                    metrics=metrics,
                ),
                read_plays=read_plays,
                update_plays=UpdatePlanPlays(
                    pool, read_plays, metering, sweeper, settle_soon, attempt_seconds, retention, clock
                ),
                usage=ReadUsage(metering, clock),
                relay=relay,
                sweeper=sweeper,
            )


def _open_pool(
    settings: ActivitySettings, size: int, server_settings: Mapping[str, str]
) -> AbstractAsyncContextManager[asyncpg.Pool]:
    return open_pool(
        settings.postgres_dsn,
        size=size,
        application_name="activity_service",
        settings=server_settings,
        role=settings.postgres_role,
    )
