"""What the service is made of: built once at start, found by the API under one key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
from aiohttp import web

from metering_service.accounts.move_on import MOVE_INTERVAL_SECONDS, move_accounts
from metering_service.events.authorize import AuthorizeEvents
from metering_service.events.hold_store import CHARGING_SETTINGS
from metering_service.events.release import ReleaseHolds
from metering_service.events.settle import SettleEvents
from metering_service.events.watch import WATCH_INTERVAL_SECONDS, watch_holds
from metering_service.health.decisions import SAMPLE_INTERVAL_SECONDS, WatchDecisions
from metering_service.metrics import MeteringMetrics
from metering_service.notices.address import AddressGuard
from metering_service.notices.administer import AdministerWebhooks
from metering_service.notices.expiring import EXPIRY_INTERVAL_SECONDS, note_expiring
from metering_service.notices.send import (
    SEND_INTERVAL_SECONDS,
    WATCH_WEBHOOKS_INTERVAL_SECONDS,
    SendWebhooks,
    open_session,
    watch_webhooks,
)
from metering_service.policies.administer import check_policy
from metering_service.policies.cache import PolicyCache
from metering_service.rates.limiter import RateLimiter
from metering_service.refusals.by_client import RefusalsByClient
from metering_service.refusals.keep import WRITE_INTERVAL_SECONDS, KeepRefusals
from metering_service.retention.forget import Round, list_rounds
from metering_service.sessions.log_in import ConsoleSessions
from metering_service.settings import MeteringSettings, read_networks, read_receivers
from metering_service.shadow.keep import JUDGE_INTERVAL_SECONDS, KeepShadow
from service_chassis.application import METRICS, READINESS
from service_chassis.auth.service_keys import ServiceKey
from service_chassis.background import BackgroundTask, run_tasks
from service_chassis.clock import Clock
from service_chassis.database.clock_watch import CLOCK_WATCH_INTERVAL_SECONDS, ClockWatch
from service_chassis.database.migrations import Schema, check_schema
from service_chassis.database.pool import check_postgres, open_pool
from service_chassis.database.turns import PoolMetrics

SCHEMA = Schema.of(Path(__file__).parent)

ACQUIRE_TIMEOUT_SECONDS = 1.0
"""How long a batch waits for a connection: callers wait 2 s for all of a decision."""

SELDOM_SECONDS = 60.0
BEGIN_SECONDS = 60.0
"""What comes as seldom begins within that time, and leaves the start of a process to its requests."""


@dataclass(frozen=True, slots=True)
class Components:
    """What calls need: the use cases that are made once, what others read by, and callers' keys by their SHA-256."""

    pool: asyncpg.Pool
    default_policy: str
    service_keys: Mapping[bytes, ServiceKey]
    authorizations: AuthorizeEvents
    settlements: SettleEvents
    releases: ReleaseHolds
    webhooks: AdministerWebhooks
    decided: WatchDecisions
    sessions: ConsoleSessions


COMPONENTS = web.AppKey("components", Components)


@asynccontextmanager
async def open_components(
    app: web.Application, settings: MeteringSettings, service_keys: Mapping[bytes, ServiceKey], clock: Clock
) -> AsyncIterator[Components]:
    """Open PostgreSQL and Redis and put the service together, with what makes it ready; close them at the end.

    Raises InvalidSettings for a server of request rates, or a receiver of webhooks, that cannot be used.
    """
    receivers, guard = read_receivers(settings), AddressGuard(read_networks(settings.webhook_networks))
    names = [receiver.name for receiver in receivers]
    metrics = MeteringMetrics(app[METRICS])
    default_policy = settings.default_policy
    size = settings.postgres_pool_size
    dsn, charging_dsn = settings.postgres_dsn, settings.postgres_charging_dsn or settings.postgres_dsn
    open_counted = partial(
        open_pool,
        application_name="metering_service",
        acquire_seconds=ACQUIRE_TIMEOUT_SECONDS,
        is_behind_pooler=settings.postgres_pooler,
        metrics=PoolMetrics(app[METRICS]),
    )
    async with (
        open_counted(charging_dsn, size=size, name="charging", settings=CHARGING_SETTINGS) as charging_pool,
        # For everything that no request for a charge waits for.
        open_counted(dsn, size=max(2, size // 2), name="others") as pool,
        # Of its own: however busy requests keep theirs, the process is not taken out of rotation for it.
        open_counted(dsn, size=1, name="readiness") as readiness_pool,
        aclosing(
            RateLimiter(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds, metrics=metrics)
        ) as rates,
        open_session(guard) as session,
    ):
        await rates.connect()
        # Redis is not a condition: without it requests pass their rates unchecked, and everything else goes on.
        app[READINESS].require("postgres", lambda: check_postgres(readiness_pool))
        # What sets these sessions apart a pooler may refuse or drop, and leave those of readiness as they are.
        app[READINESS].require("sessions", lambda: check_postgres(charging_pool), once=True)
        app[READINESS].require("migrations", lambda: check_schema(readiness_pool, SCHEMA), once=True)
        app[READINESS].require("default_policy", lambda: check_policy(readiness_pool, default_policy))
        watch = ClockWatch(readiness_pool, clock, metrics.clock_apart)
        app[READINESS].require("clock", watch.check)
        policies = PolicyCache(charging_pool, default_policy=default_policy)
        refusals = KeepRefusals(pool, RefusalsByClient(metrics.refusals))
        shadow = KeepShadow(pool, policies, default_policy, metrics)
        decided = WatchDecisions(metrics.count_decisions)
        rounds: list[Round] = [
            ("clock watch", watch.run_once, CLOCK_WATCH_INTERVAL_SECONDS),
            ("watch holds", partial(watch_holds, pool, metrics), WATCH_INTERVAL_SECONDS),
            ("sample decisions", decided.run_once, SAMPLE_INTERVAL_SECONDS),
            ("move accounts on", partial(move_accounts, pool), MOVE_INTERVAL_SECONDS),
            ("write refusals", refusals.run_once, WRITE_INTERVAL_SECONDS),
            ("judge by shadow policies", shadow.run_once, JUDGE_INTERVAL_SECONDS),
            ("note expiring grants", partial(note_expiring, pool), EXPIRY_INTERVAL_SECONDS),
            *list_rounds(pool, settings),
        ]
        for receiver in receivers:
            send = SendWebhooks(pool, session, receiver, names, metrics, clock).run_once
            rounds.append((f"send webhooks to {receiver.name}", send, SEND_INTERVAL_SECONDS))
        if receivers:
            waiting = partial(watch_webhooks, pool, names, metrics)
            rounds.append(("watch webhooks", waiting, WATCH_WEBHOOKS_INTERVAL_SECONDS))
        tasks = [
            BackgroundTask(
                name,
                run_once,
                interval_seconds=seconds,
                begins_within_seconds=BEGIN_SECONDS if seconds >= SELDOM_SECONDS else 0,
                rounds=metrics.background_rounds,
            )
            for name, run_once, seconds in rounds
        ]
        async with run_tasks(tasks):
            yield Components(
                pool=pool,
                default_policy=default_policy,
                service_keys=service_keys,
                authorizations=AuthorizeEvents(
                    charging_pool,
                    policies,
                    rates,
                    watch,
                    refusals.log.note,
                    shadow.note,
                    metrics,
                    default_policy=default_policy,
                ),
                settlements=SettleEvents(charging_pool, policies, metrics, default_policy=default_policy),
                releases=ReleaseHolds(charging_pool),
                webhooks=AdministerWebhooks(pool, names, clock),
                decided=decided,
                sessions=ConsoleSessions(pool, service_keys),
            )
