"""Serve by several processes on one port, and one for the operations port."""

import asyncio
import contextlib
import ctypes
import mmap
import os
import socket
from functools import partial
from typing import NoReturn

import uvloop
from aiohttp import web

from service_chassis.application import Worker, catch_signals, listen, make_operations, run
from service_chassis.http.server import HttpServer
from service_chassis.operations.health import render_operations_error
from service_chassis.process_settings import AdminSettings, ProcessSettings
from service_chassis.workers.supervisor import Supervisor, Task
from service_chassis.workers.whole import WholeService


def run_workers(app: web.Application, settings: ProcessSettings, count: int) -> NoReturn:
    """Serve as `run`, by `count` processes on the one port, and one for the operations port; raise SystemExit.

    A process that dies is replaced. Raises OperatorError as `run`.
    """
    asyncio.run(_require_free(settings))
    # Each open here for as long as this process lives: a worker's successor takes its place.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    # Memory that all of them share: the process id of each worker that takes requests, or took them.
    serving = (ctypes.c_int * count).from_buffer(mmap.mmap(-1, count * ctypes.sizeof(ctypes.c_int)))
    whole = WholeService([each.getsockname()[1] for each in sockets], serving)

    def run_worker(place: int) -> None:
        def tell_listening() -> None:
            serving[place] = os.getpid()
            supervisor.tell_listening()

        run(app, settings, Worker(sockets[place], tell_listening))

    supervisor = Supervisor(
        [
            Task(lambda: uvloop.run(_speak_for(whole, settings)), "operations", is_worker=False),
            *(Task(partial(run_worker, place), str(place + 1)) for place in range(count)),
        ]
    )
    supervisor.run()


async def _require_free(settings: ProcessSettings) -> None:
    """Raise OperatorError where a port cannot be listened on: to share it is to share it with a stranger, too.

    All at once, since two of one number would be shared as well, each caller led to either by chance.
    """
    addresses = [
        (f"{settings.prefix}OPS_", settings.ops_host, settings.ops_port),
        (settings.prefix, settings.host, settings.port),
    ]
    if isinstance(settings, AdminSettings):
        addresses.append((f"{settings.prefix}ADMIN_", settings.admin_host, settings.admin_port))
    async with contextlib.AsyncExitStack() as probes:
        for address in addresses:
            probe = HttpServer(web.Application(), render_error=render_operations_error)
            probes.push_async_callback(probe.close)
            await probe.setup()
            await listen(probe, *address)


async def _speak_for(whole: WholeService, settings: ProcessSettings) -> None:
    """Serve the operations port for all workers until SIGTERM."""
    stop = catch_signals()
    operations = make_operations(whole.find_not_ready, whole.render_metrics)
    try:
        await operations.setup()
        await listen(operations, f"{settings.prefix}OPS_", settings.ops_host, settings.ops_port)
        await stop.wait()
    finally:
        await operations.close()
