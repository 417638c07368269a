"""Which parts this service is made of, and who is given whom. No I/O: everything that waits is passed in open."""

from dataclasses import dataclass

import aiohttp
import asyncpg

from activity_service.api.responses import render_plan_play
from activity_service.billing.background import BackgroundTask
from activity_service.billing.give_up_hold import GiveUpHold
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.outbox_store import BillableEventStore
from activity_service.billing.outbox_watch import WATCH_INTERVAL_SECONDS, OutboxWatch
from activity_service.billing.relay import GATHER_SECONDS, Relay
from activity_service.billing.resolve_holds import ResolveHolds
from activity_service.billing.settle_events import SettleEvents
from activity_service.billing.sweeper import Sweeper
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.completion_store import CompletionStore
from activity_service.plays.create import CreatePlanPlay
from activity_service.plays.creation_store import CreationStore
from activity_service.plays.list_plays import ListPlanPlays
from activity_service.plays.read import ReadPlanPlay
from activity_service.plays.store import PlanPlayStore
from activity_service.plays.update import UpdatePlanPlay
from activity_service.settings import ActivitySettings
from service_chassis.clock import Clock
from service_chassis.http.cursor import CursorSigner


@dataclass(frozen=True, slots=True)
class Parts:
    """The use cases that calls need, and the work beside them."""

    admission: Admission
    create: CreatePlanPlay
    read: ReadPlanPlay
    update: UpdatePlanPlay
    lists: ListPlanPlays
    relay: Relay
    sweeper: Sweeper
    tasks: tuple[BackgroundTask, ...]


def assemble(
    settings: ActivitySettings,
    *,
    pool: asyncpg.Pool,
    stream_pool: asyncpg.Pool,
    shared_pool: asyncpg.Pool,
    session: aiohttp.ClientSession,
    clock: Clock,
    metrics: ActivityMetrics,
) -> Parts:
    """Put the service together. Nothing runs yet.

    `shared_pool` sees the rows of all clients: for statements that many requests share, and for the background work.
    """
    plays, events = PlanPlayStore(pool, stream_pool), BillableEventStore(shared_pool)
    metering = MeteringClient(
        session,
        url=settings.metering_url,
        key=settings.metering_key,
        deadline_seconds=settings.metering_deadline_seconds,
        metrics=metrics,
    )
    settle = SettleEvents(metering, clock=clock, metrics=metrics)
    resolve = ResolveHolds(events, metering, settle, clock=clock, metrics=metrics)
    give_up = GiveUpHold(resolve)
    relay = Relay(events, settle, clock=clock)
    sweeper = Sweeper(metering, resolve, older_than_seconds=settings.resolve_after_seconds, metrics=metrics)
    watch = OutboxWatch(events, clock=clock, metrics=metrics)

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
        "outbox watch", watch.run_once, interval_seconds=WATCH_INTERVAL_SECONDS, metrics=metrics
    )
    read = ReadPlanPlay(plays)
    admission = Admission(settings.requests_under_way_limit, metrics)
    return Parts(
        admission=admission,
        create=CreatePlanPlay(
            CreationStore(shared_pool),
            metering,
            give_up,
            admission,
            render=render_plan_play,
            kick_relay=relaying.kick,
            clock=clock,
            metrics=metrics,
        ),
        read=read,
        update=UpdatePlanPlay(
            read,
            plays,
            CompletionStore(pool),
            metering,
            give_up,
            admission,
            kick_relay=relaying.kick,
            clock=clock,
        ),
        lists=ListPlanPlays(plays, CursorSigner(settings.cursor_secret)),
        relay=relay,
        sweeper=sweeper,
        tasks=(relaying, sweeping, watching),
    )
