"""The faults: each breaks something for a while, and leaves the mending to whoever heals the stack.

Long because it is a table of faults, a few lines each.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import redis.asyncio
import redis.exceptions

from prove.breakable_stack import ACTIVITIES, RESOLVE_AFTER_SECONDS
from tests.faults.fail_points import FAIL_POINTS, arm, await_met
from tests.faults.fault_stack import TOKEN_SELLERS, FaultStack

Inject = Callable[[FaultStack, random.Random], Awaitable[bool]]
"""Break it, hold it, and answer whether it came about: nobody may have met the fail point."""

PAUSE_SECONDS = RESOLVE_AFTER_SECONDS + 2.0
"""Long enough that the other process's sweeper gives up what a paused request holds."""
LINK_FAULT_SECONDS = (0.5, 3.0)
FAIL_POINT_TIMEOUT_SECONDS = 5.0
CLOCK_SHIFT_SECONDS = 4.0
"""More than the resolve age. Beyond 5 s tokens of the present would be refused as being of the future."""
BALLAST_STEP_BYTES = 64 * 1024

FAULTS: dict[str, Inject] = {}


def fault(name: str) -> Callable[[Inject], Inject]:
    """Put a fault into the table."""

    def register(inject: Inject) -> Inject:
        FAULTS[name] = inject
        return inject

    return register


async def _hold(rng: random.Random, shortest_seconds: float = 0.3, longest_seconds: float = 2.0) -> None:
    await asyncio.sleep(rng.uniform(shortest_seconds, longest_seconds))


@fault("activity: kill -9")
async def _kill_activity(stack: FaultStack, rng: random.Random) -> bool:
    await stack.kill_service(rng.choice(ACTIVITIES))
    await _hold(rng)
    return True


@fault("activity: both kill -9")
async def _kill_activities(stack: FaultStack, rng: random.Random) -> bool:
    await asyncio.gather(*[stack.kill_service(name) for name in ACTIVITIES])
    await _hold(rng)
    return True


@fault("metering: kill -9")
async def _kill_metering(stack: FaultStack, rng: random.Random) -> bool:
    await stack.kill_service("metering")
    await _hold(rng)
    return True


@fault("catalog: kill -9")
async def _kill_catalog(stack: FaultStack, rng: random.Random) -> bool:
    await stack.kill_service("catalog")
    await _hold(rng)
    return True


@fault("second product: kill -9")
async def _kill_second_product(stack: FaultStack, rng: random.Random) -> bool:
    await stack.kill_service(rng.choice(TOKEN_SELLERS))
    await _hold(rng)
    return True


@fault("second product: SIGSTOP beyond the resolve age")
async def _pause_second_product(stack: FaultStack, rng: random.Random) -> bool:
    stack.signal_service(rng.choice(TOKEN_SELLERS), signal.SIGSTOP)
    await asyncio.sleep(PAUSE_SECONDS)
    return True


@fault("activity: SIGTERM")
async def _terminate_activity(stack: FaultStack, rng: random.Random) -> bool:
    await stack.terminate_service(rng.choice(ACTIVITIES))
    return True


@fault("metering: SIGTERM")
async def _terminate_metering(stack: FaultStack, rng: random.Random) -> bool:
    await stack.terminate_service("metering")
    return True


@fault("activity: SIGSTOP beyond the resolve age")
async def _pause_activity(stack: FaultStack, rng: random.Random) -> bool:
    stack.signal_service(rng.choice(ACTIVITIES), signal.SIGSTOP)
    await asyncio.sleep(PAUSE_SECONDS)
    return True


@fault("metering: SIGSTOP")
async def _pause_metering(stack: FaultStack, rng: random.Random) -> bool:
    stack.signal_service("metering", signal.SIGSTOP)
    await _hold(rng, 1.0, PAUSE_SECONDS)
    return True


@fault("everything: kill -9 at once")
async def _kill_everything(stack: FaultStack, rng: random.Random) -> bool:
    os.kill(stack.postgres.process.pid, signal.SIGKILL)
    os.kill(stack.redis.process.pid, signal.SIGKILL)
    await asyncio.gather(*[stack.kill_service(name) for name in ("catalog", "metering", *ACTIVITIES, *TOKEN_SELLERS)])
    await _hold(rng)
    return True


@fault("postgres: kill -9 of the postmaster")
async def _kill_postgres(stack: FaultStack, rng: random.Random) -> bool:
    os.kill(stack.postgres.process.pid, signal.SIGKILL)
    await _hold(rng)
    return True


@fault("postgres: immediate stop")
async def _stop_postgres(stack: FaultStack, rng: random.Random) -> bool:
    os.kill(stack.postgres.process.pid, signal.SIGQUIT)
    await _hold(rng)
    return True


@fault("postgres: kill -9 of a backend")
async def _kill_backend(stack: FaultStack, rng: random.Random) -> bool:
    connection = await asyncpg.connect(stack.postgres.dsn(), timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname IN ('activity', 'metering', 'llm')"
        )
    finally:
        await connection.close()
    if rows:
        os.kill(rng.choice(rows)["pid"], signal.SIGKILL)
    await _hold(rng)
    return bool(rows)


@fault("postgres: connections exhausted")
async def _exhaust_connections(stack: FaultStack, rng: random.Random) -> bool:
    """Take every connection there is, also those the services had."""
    taken: list[asyncpg.Connection] = []
    try:
        end = asyncio.get_running_loop().time() + rng.uniform(2.0, 4.0)
        while asyncio.get_running_loop().time() < end:
            try:
                taken.append(await asyncpg.connect(stack.postgres.dsn(), timeout=2))
            except (asyncpg.PostgresError, OSError, TimeoutError):
                with contextlib.suppress(asyncpg.PostgresError, OSError, IndexError):
                    await taken[0].execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres'"
                    )
                await asyncio.sleep(0.1)
    finally:
        for connection in taken:
            connection.terminate()
    return len(taken) > 10


@fault("postgres: disk full")
async def _fill_disk(stack: FaultStack, rng: random.Random) -> bool:
    if not stack.has_small_disk:
        return False
    ballast = stack.directory / "postgres" / "ballast"
    try:
        end = asyncio.get_running_loop().time() + rng.uniform(2.0, 4.0)
        while asyncio.get_running_loop().time() < end:
            _fill(ballast)
            await asyncio.sleep(0.1)
    finally:
        ballast.unlink(missing_ok=True)
    return True


def _fill(ballast: Path) -> None:
    """Let `ballast` take all the room that is left: large steps, then small ones."""
    with ballast.open("ab") as file:
        step = BALLAST_STEP_BYTES * 256
        while step >= BALLAST_STEP_BYTES:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), step)
                file.seek(0, os.SEEK_END)
            except OSError:
                step //= 4


@fault("redis: kill -9")
async def _kill_redis(stack: FaultStack, rng: random.Random) -> bool:
    os.kill(stack.redis.process.pid, signal.SIGKILL)
    await _hold(rng)
    return True


@fault("redis: SIGSTOP")
async def _pause_redis(stack: FaultStack, rng: random.Random) -> bool:
    os.kill(stack.redis.process.pid, signal.SIGSTOP)
    await _hold(rng, 1.0, 3.0)
    return True


@fault("redis: FLUSHALL")
async def _flush_redis(stack: FaultStack, rng: random.Random) -> bool:
    try:
        async with redis.asyncio.Redis.from_url(stack.redis.url) as client:
            await client.flushall()
    except redis.exceptions.RedisError:
        return False  # the fault beside this one has killed it first
    return True


@fault("internal requests doubled")
async def _double(stack: FaultStack, rng: random.Random) -> bool:
    before = stack.tape.replayed
    stack.tape.is_doubling = True
    try:
        await _hold(rng, 1.0, 3.0)
    finally:
        stack.tape.is_doubling = False
    return stack.tape.replayed > before


@fault("internal requests replayed, newest first")
async def _replay(stack: FaultStack, rng: random.Random) -> bool:
    before = stack.tape.replayed
    await stack.tape.replay(rng.uniform(1.0, 3.0), rng)
    return stack.tape.replayed > before


@fault("internal requests reordered")
async def _reorder(stack: FaultStack, rng: random.Random) -> bool:
    stack.links["activity-metering"].delay(0.0, 0.7)
    await _hold(rng, 1.0, 3.0)
    return True


def _shift_clock(service: str, sign: int) -> Inject:
    async def shift(stack: FaultStack, rng: random.Random) -> bool:
        file = stack.control / f"clock-{service}"
        file.write_text(str(sign * CLOCK_SHIFT_SECONDS))
        await _hold(rng, 1.0, 3.0)
        return True

    return shift


for _service in ("activity-1", "metering"):
    for _sign, _words in ((1, "fast"), (-1, "slow")):
        FAULTS[f"{_service}: clock {CLOCK_SHIFT_SECONDS:g} s {_words}"] = _shift_clock(_service, _sign)


def _break_link(name: str, how: str) -> Inject:
    async def break_link(stack: FaultStack, rng: random.Random) -> bool:
        link = stack.links[name]
        match how:
            case "refuse":
                await link.refuse()
            case "reset":
                for _ in range(rng.randint(3, 10)):
                    link.reset()
                    await asyncio.sleep(rng.uniform(0.02, 0.3))
                return True
            case "stall":
                link.stall()
            case "delay":
                link.delay(0.05, 0.3)
            case "half-close":
                for _ in range(rng.randint(3, 10)):
                    link.cut_answers_after(rng.randint(1, 600))
                    await asyncio.sleep(rng.uniform(0.05, 0.3))
                return True
        await _hold(rng, *LINK_FAULT_SECONDS)
        return True

    return break_link


LINKS = (
    *("clients-activity-1", "activity-metering", "activity-postgres", "metering-postgres", "metering-redis"),
    *("llm-metering", "llm-postgres"),
)
for _link in LINKS:
    for _how in ("refuse", "reset", "stall", "delay", "half-close"):
        FAULTS[f"{_how} {_link}"] = _break_link(_link, _how)


def _meet_fail_point(name: str, action: str) -> Inject:
    async def meet(stack: FaultStack, rng: random.Random) -> bool:
        arm(stack.control, name, action)
        if any(word in name for word in ("abandon", "release", "free")):
            # Somebody must leave a hold behind, for the sweeper to come to this point.
            arm(stack.control, "after-authorize", "stop")
            if await await_met(stack.control, "after-authorize", timeout_seconds=FAIL_POINT_TIMEOUT_SECONDS) is None:
                return False
        met = await await_met(stack.control, name, timeout_seconds=FAIL_POINT_TIMEOUT_SECONDS + RESOLVE_AFTER_SECONDS)
        if met is not None and action == "stop":
            await asyncio.sleep(PAUSE_SECONDS)
        elif met is not None:
            await stack.await_end(met)
        return met is not None

    return meet


for _name in FAIL_POINTS:
    FAULTS[f"kill -9 {_name}"] = _meet_fail_point(_name, "kill")
for _name in (
    "after-authorize",
    "before-create-statement",
    "after-fact-writes",
    "after-settle-call",
    "before-charge",
):
    FAULTS[f"SIGSTOP {_name}"] = _meet_fail_point(_name, "stop")
