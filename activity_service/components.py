"""What the service is made of: built once at start, found by the API under one key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web

from activity_service.billing.background import BackgroundTask, run_tasks
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.relay import GATHER_SECONDS, WATCH_INTERVAL_SECONDS, Relay
from activity_service.billing.sweeper import Sweeper
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.create import CreatePlanPlays, EncodePlay
from activity_service.plays.plan_play import OWN_EVENT_TYPES
from activity_service.plays.read import ReadPlanPlays
from activity_service.plays.store import POOL_SETTINGS, STREAM_POOL_SETTINGS
from activity_service.plays.update import UpdatePlanPlays
from activity_service.settings import ActivitySettings
from service_chassis.application import METRICS, READINESS
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.auth.jwks import RemoteKeys
from service_chassis.clock import Clock
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.tenancy import ALL_CLIENTS

SCHEMA = Schema.of(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Components:
    """The use cases that calls need, what authenticates callers, and the work beside the calls."""

    verifier: TokenVerifier
    admission: Admission
    create_plays: CreatePlanPlays
    read_plays: ReadPlanPlays
    update_plays: UpdatePlanPlays
    relay: Relay
    sweeper: Sweeper


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application, settings: ActivitySettings, clock: Clock, encode_play: EncodePlay
) -> AsyncIterator[Components]:
    """Open pools and HTTP session and put the service together, with what makes it ready; run the background work.

    Metering is none of what makes it ready: without it plays are still read. At the end all is closed again.
    """
    size = settings.postgres_pool_size
    async with (
        _open_pool(settings, size, POOL_SETTINGS) as pool,
        _open_pool(settings, max(2, size // 2), STREAM_POOL_SETTINGS) as stream_pool,
        # Sees the rows of all clients: for statements that many requests share, and for the background work.
        _open_pool(settings, max(4, size // 4), {**POOL_SETTINGS, **ALL_CLIENTS}) as shared_pool,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        metrics = ActivityMetrics(app[METRICS])
        keys = RemoteKeys(session, settings.jwks_url)
        app[READINESS].require("postgres", lambda: check_postgres(pool))
        app[READINESS].require("migrations", lambda: check_schema(pool, SCHEMA))
        app[READINESS].require("signing_keys", keys.check)

        metering = MeteringClient(
            session,
            url=settings.metering_url,
            key=settings.metering_key,
            deadline_seconds=settings.metering_deadline_seconds,
            metrics=metrics,
        )
        relay = Relay(shared_pool, metering, clock, metrics)
        sweeper = Sweeper(
            shared_pool, metering, relay, clock, metrics, OWN_EVENT_TYPES, settings.resolve_after_seconds
        )
        relaying = BackgroundTask(
            "relay",
            relay.run_once,
            interval_seconds=settings.relay_poll_seconds,
            gather_seconds=GATHER_SECONDS,
            metrics=metrics,
        )
        sweeping = BackgroundTask(
            "sweeper", sweeper.run_once, interval_seconds=settings.sweep_interval_seconds, metrics=metrics
        )
        watching = BackgroundTask(
            "outbox watch", relay.watch_once, interval_seconds=WATCH_INTERVAL_SECONDS, metrics=metrics
        )

        admission = Admission(settings.requests_under_way_limit, metrics)
        read_plays = ReadPlanPlays(pool, stream_pool)
        async with run_tasks([relaying, sweeping, watching], last_round=relay.run_once):
            yield Components(
                verifier=TokenVerifier(
                    issuer=settings.token_issuer,
                    audience=settings.token_audience,
                    find_key=keys.find,
                    clock=clock,
                    metrics=app[METRICS],
                ),
                admission=admission,
                create_plays=CreatePlanPlays(
                    shared_pool,
                    metering,
                    sweeper,
                    admission,
                    encode_play=encode_play,
                    kick_relay=relaying.kick,
                    clock=clock,
                    metrics=metrics,
                ),
                read_plays=read_plays,
                update_plays=UpdatePlanPlays(pool, read_plays, metering, sweeper, admission, relaying.kick, clock),
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
