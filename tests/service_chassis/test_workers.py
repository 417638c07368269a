"""A service of several processes behind one port, on real ones."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from local_stack.ports import choose_free_port
from tests.service_chassis.example import Example, Start, ask

pytestmark = pytest.mark.system


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and no zombie that nobody has buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def names(example: Example, count: int) -> set[int]:
    """Return the ids of `count` processes, asked until so many have answered, each on a connection of its own."""
    found: set[int] = set()
    while len(found) < count:
        found.add(int((await ask(example.url + "/name"))[1]))
    return found


async def wait_until_ready(example: Example, *, is_ready: bool = True) -> str:
    while True:
        try:
            status, body, _ = await ask(example.ops_url + "/readyz")
            if (status == 200) is is_ready:
                return body
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.02)


async def test_workers_share_the_port_and_one_that_dies_is_replaced_and_told_while_the_others_serve(
    start: Start,
) -> None:
    async with start(workers=3) as example:
        await wait_until_ready(example)
        first = await names(example, 3)
        assert example.process.pid not in first
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        await example.read_until("worker_ended")
        assert example.lines[-1]["how"] == "SIGKILL"
        while victim in (second := await names(example, 3)) or len(second) < 3:
            pass
        assert first - second == {victim}
        await wait_until_ready(example)
        example.process.send_signal(signal.SIGTERM)
        assert await example.process.wait() == 0
    assert not any(map(is_running, first | second))


async def test_sigterm_lets_every_worker_finish_and_the_operations_port_says_so_until_the_last_has(
    start: Start,
) -> None:
    async with start(workers=2, drain_seconds=1.0) as example:
        await wait_until_ready(example)
        slow = [asyncio.create_task(ask(example.url + "/slow")) for _ in range(6)]
        for _ in range(6):
            await example.read_until("slow began")
            example.lines.append({"event": "counted"})
        example.process.send_signal(signal.SIGTERM)
        assert json.loads(await wait_until_ready(example, is_ready=False))["notReady"] == ["stopping"]
        assert {(await each)[:2] for each in slow} == {(200, "done")}
        assert await example.process.wait() == 0


async def test_a_second_signal_ends_all_at_once(start: Start) -> None:
    async with start(workers=2, drain_seconds=60) as example:
        await wait_until_ready(example)
        pids = await names(example, 2)
        example.process.send_signal(signal.SIGTERM)
        await wait_until_ready(example, is_ready=False)
        example.process.send_signal(signal.SIGTERM)
        assert await example.process.wait() == 128 + signal.SIGTERM
    assert not any(map(is_running, pids))


async def test_what_keeps_one_from_starting_ends_all_with_its_status(
    start: Start, empty_database: Callable[[], str]
) -> None:
    wrong = re.sub("/[^/]*$", "/none", empty_database())
    async with start(workers=2, postgres_dsn=wrong) as example:
        assert await example.process.wait() == 1


async def test_a_port_in_use_is_told_before_any_worker_is_there(start: Start) -> None:
    """Not even by processes that share ports: it would be shared with them."""
    async with start(workers=2) as example:
        await wait_until_ready(example)
        admin_port, ops_port = (int(url.rpartition(":")[2]) for url in (example.admin_url, example.ops_url))
        for taken in ({"port": example.port}, {"admin_port": admin_port}, {"ops_port": ops_port}):
            async with start(workers=2, **taken) as other:
                assert await other.process.wait() == 1
                assert other.process.stdout is not None
                assert not await other.process.stdout.read()


async def test_workers_do_not_share_a_port_with_administration(start: Start) -> None:
    """Processes that share ports could have one for both, and callers would come to either by chance."""
    port = choose_free_port()
    for other in ("admin_port", "ops_port"):
        async with start(workers=2, **{"port": port, other: port}) as example:
            assert await example.process.wait() == 1


async def test_a_worker_that_answers_nothing_keeps_the_whole_from_being_ready_until_it_is_replaced(
    start: Start,
) -> None:
    """The kernel leads callers to it as to the others."""
    async with start(workers=2) as example:
        await wait_until_ready(example)
        pids = await names(example, 2)
        victim = min(pids)
        os.kill(victim, signal.SIGSTOP)
        try:
            assert json.loads(await wait_until_ready(example, is_ready=False))["notReady"] == ["unresponsive"]
            _, metrics, _ = await ask(example.ops_url + "/metrics")
            assert len(re.findall(r'^readiness_failing\{check="unresponsive",worker="[12]"\} 1', metrics, re.M)) == 1
        finally:
            os.kill(victim, signal.SIGKILL)
        await wait_until_ready(example)


async def test_workers_do_not_outlive_the_process_that_started_them(start: Start) -> None:
    async with start(workers=2) as example:
        await wait_until_ready(example)
        pids = await names(example, 2)
        example.process.kill()
        while any(map(is_running, pids)):  # noqa: ASYNC110 - they have no event
            await asyncio.sleep(0.01)


async def test_every_line_of_a_log_says_which_worker_wrote_it(start: Start) -> None:
    async with start(workers=2) as example:
        await wait_until_ready(example)
        await names(example, 2)
        example.process.send_signal(signal.SIGTERM)
        assert await example.process.wait() == 0
        assert example.process.stdout is not None
        lines = [json.loads(line) for line in (await example.process.stdout.read()).splitlines()]
    for event in ("listening", "request", "stopped"):
        assert {line.get("worker") for line in lines if line["event"] == event} == {"1", "2"}, event


async def test_metrics_are_of_all_workers_each_by_its_number(start: Start) -> None:
    async with start(workers=2) as example:
        await wait_until_ready(example)
        await names(example, 2)
        _, text, _ = await ask(example.ops_url + "/metrics")
    counted = dict(re.findall(r'^http_request_seconds_count\{.*route="/name".*worker="(\d)"\} (.*)$', text, re.M))
    assert counted.keys() == {"1", "2"}
    assert all(float(count) >= 1 for count in counted.values())
    assert text.count("# TYPE http_request_seconds histogram") == 1
