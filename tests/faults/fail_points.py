"""Named points of the protocol at which a process can be made to die or to stand still.

They exist only in processes started through `tests.faults.service_process`: methods of the product are wrapped
there, from outside. A point is armed by a file of its name whose text is `kill` or `stop`; whoever removes the file
is the one it happens to.
"""

import asyncio
import functools
import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "metering_client"
BILLED_BY_LIBRARY = ("activity", "llm")


@dataclass(frozen=True, slots=True)
class FailPoint:
    """A moment in a process of `service`: before or after a method of one of its classes."""

    name: str
    service: str
    module: str
    owner: str
    method: str
    is_after: bool


def _around(name: str, service: str, module: str, owner: str, method: str) -> tuple[FailPoint, FailPoint]:
    path = module if service == LIBRARY else f"{service}_service.{module}"
    return (
        FailPoint(f"before-{name}", service, path, owner, method, is_after=False),
        FailPoint(f"after-{name}", service, path, owner, method, is_after=True),
    )


FAIL_POINTS: dict[str, FailPoint] = {
    point.name: point
    for pair in (
        _around("authorize", LIBRARY, "metering_client.client", "MeteringClient", "_authorize_batch"),
        _around("create-statement", "activity", "plays.creation_store", "CreationStore", "insert_plan_plays"),
        _around("fact-writes", LIBRARY, "metering_client.hold", "Charge", "finish"),
        _around("fact-commit", LIBRARY, "metering_client.hold", "Hold", "_commit"),
        _around("settle-call", LIBRARY, "metering_client.client", "MeteringClient", "settle"),
        _around("abandon", LIBRARY, "metering_client.outbox_store", "OutboxStore", "insert_abandoned"),
        _around("release-call", LIBRARY, "metering_client.client", "MeteringClient", "release"),
        _around("hold", "metering", "events.hold_store", "HoldStore", "authorize"),
        _around("charge", "metering", "events.hold_store", "HoldStore", "settle_held"),
        _around("free", "metering", "events.hold_store", "HoldStore", "release"),
    )
    for point in pair
}
"""By name. `after-fact-writes` is inside the open transaction; `after-abandon` is between abandoning and
releasing; the create's statement is its own transaction, so `after-create-statement` is after its commit."""


def install(service: str, control: Path) -> None:
    """Wrap the points of `service` in this process; they are armed by files in `control`."""
    for point in FAIL_POINTS.values():
        if point.service == service or (point.service == LIBRARY and service in BILLED_BY_LIBRARY):
            owner = getattr(importlib.import_module(point.module), point.owner)
            setattr(owner, point.method, _wrap(getattr(owner, point.method), point, control))


def _wrap(method: Callable[..., Any], point: FailPoint, control: Path) -> Callable[..., Any]:
    armed = control / point.name

    @functools.wraps(method)
    async def with_point(*arguments: Any, **options: Any) -> Any:
        if not point.is_after:
            _meet(armed)
        result = await method(*arguments, **options)
        if point.is_after:
            _meet(armed)
        return result

    return with_point


def _meet(armed: Path) -> None:
    """Do what the file says, if it is there and nobody else takes it first."""
    try:
        action = armed.read_text()
        armed.unlink()
    except OSError:
        return
    armed.with_suffix(".met").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def arm(control: Path, name: str, action: str) -> None:
    """Arm a point, for the next process that comes to it."""
    (control / f"{name}.met").unlink(missing_ok=True)
    draft = control / f"{name}.draft"
    draft.write_text(action)
    draft.rename(control / name)


async def await_met(control: Path, name: str, *, timeout_seconds: float) -> int | None:
    """Wait until a process meets an armed point; answer its id, or None, disarmed, when none does in time."""
    met = control / f"{name}.met"
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if met.exists() and (text := met.read_text()):
            return int(text)
        await asyncio.sleep(0.02)
    (control / name).unlink(missing_ok=True)
    return None
