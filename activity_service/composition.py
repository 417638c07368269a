"""Which parts this service is made of, and who is given whom. No I/O: everything that waits is passed in open."""

from dataclasses import dataclass

import aiohttp
import asyncpg

from activity_service.activity_metrics import ActivityMetrics
from activity_service.admission import Admission
from activity_service.background_task import BackgroundTask
from activity_service.billable_event_store import BillableEventStore
from activity_service.completion_store import CompletionStore
from activity_service.create_plan_play import CreatePlanPlay
from activity_service.creation_store import CreationStore
from activity_service.give_up_hold import GiveUpHold
from activity_service.list_plan_plays import ListPlanPlays
from activity_service.metering_client import MeteringClient
from activity_service.outbox_watch import WATCH_INTERVAL_SECONDS, OutboxWatch
from activity_service.plan_play_store import PlanPlayStore
from activity_service.read_plan_play import ReadPlanPlay
from activity_service.relay import GATHER_SECONDS, Relay
from activity_service.rendering import render_plan_play
from activity_service.resolve_holds import ResolveHolds
from activity_service.settings import ActivitySettings
from activity_service.settle_events import SettleEvents
from activity_service.sweeper import Sweeper
from activity_service.update_plan_play import UpdatePlanPlay
from service_chassis.clock import Clock
from service_chassis.cursor import CursorSigner


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
