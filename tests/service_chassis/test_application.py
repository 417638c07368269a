"""A service as a process: how it begins, and that it stops without dropping what it has begun."""

import asyncio
import json
import signal
from collections.abc import Callable

import aiohttp
import pytest

from local_stack.ports import choose_free_port
from tests.activity_service.database_proxy import DatabaseProxy
from tests.service_chassis.example import Start, ask


async def test_a_stopping_process_finishes_what_is_under_way_and_exits_with_0(start: Start) -> None:
    async with start() as example:
        await example.read_until("listening")
        assert (await ask(example.ops_url + "/readyz"))[0] == 200
        slow = asyncio.create_task(ask(example.url + "/slow"))
        await example.read_until("slow began")
        example.process.send_signal(signal.SIGTERM)
        assert (await slow)[:2] == (200, "done")
        await example.read_until("stopped")
        assert await example.process.wait() == 0
    assert example.events == ["listening", "slow began", "stopping", "request", "cleaned up", "stopped"]


async def test_both_listeners_finish_what_is_under_way_at_once_and_components_close_after_both(start: Start) -> None:
    async with start() as example:
        await example.read_until("listening")
        # The first one's application lets both go, when it closes: neither closes only when the other is done.
        slow = []
        for url in (example.admin_url, example.url):
            slow.append(asyncio.create_task(ask(url + "/slow")))
            await example.read_next()
        example.process.send_signal(signal.SIGTERM)
        assert [(await each)[:2] for each in slow] == [(200, "done")] * 2
        await example.read_until("stopped")
        assert await example.process.wait() == 0
    assert example.events == [
        "listening",
        "slow began",
        "slow began",
        "stopping",
        "request",
        "request",
        "cleaned up",
        "stopped",
    ]


async def test_what_administration_answers_is_counted_with_the_rest_and_its_connections_apart(start: Start) -> None:
    async with start() as example:
        await example.read_until("listening")
        async with aiohttp.ClientSession() as http:
            for url in (example.admin_url, example.admin_url, example.url):
                await (await http.get(url + "/quick")).read()
            metrics = (await ask(example.ops_url + "/metrics"))[1]
        assert 'http_connections{listener="admin"} 1.0' in metrics
        assert 'http_connections{listener="api"} 1.0' in metrics
        assert 'http_request_seconds_count{method="GET",route="/quick",status="200"} 3.0' in metrics
        # Nothing but its own is on the operations port, which says as little of its server as the others.
        assert (await ask(example.ops_url + "/quick"))[0] == 404
        async with aiohttp.ClientSession() as http:
            for path in ("/livez", "/readyz", "/metrics", "/quick"):
                assert (await http.get(example.ops_url + path)).headers["Server"] == "http"


async def test_a_draining_process_is_not_ready_takes_new_connections_and_lets_go_of_each(start: Start) -> None:
    async with start(drain_seconds=1.5) as example:
        await example.read_until("listening")
        assert (await ask(example.url + "/quick"))[2] is None
        async with aiohttp.ClientSession() as http:
            for url in (example.url, example.admin_url):
                async with http.get(url + "/quick"):
                    pass  # the connection is kept
            example.process.send_signal(signal.SIGTERM)
            await example.read_until("stopping")
            status, body, _ = await ask(example.ops_url + "/readyz")
            assert (status, json.loads(body)["notReady"]) == (503, ["stopping"])
            assert (await ask(example.ops_url + "/livez"))[0] == 200
            for url in (example.url, example.admin_url):
                async with http.get(url + "/quick") as kept:
                    assert (kept.status, kept.headers["Connection"]) == (200, "close")
        assert await ask(example.url + "/quick") == (200, "done", "close")
        await example.read_until("stopped")
        assert await example.process.wait() == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(example.url + "/quick")


async def test_a_second_signal_ends_a_process_at_once(start: Start) -> None:
    async with start(drain_seconds=600) as example:
        await example.read_until("listening")
        example.process.send_signal(signal.SIGTERM)
        await example.read_until("stopping")
        example.process.send_signal(signal.SIGTERM)
        assert await example.process.wait() == 128 + signal.SIGTERM
    assert "cleaned up" not in example.events


async def test_a_connection_without_a_request_is_closed_when_it_is_told_to(start: Start) -> None:
    async with start(keep_alive_seconds=0.2) as example:
        await example.read_until("listening")
        reader, writer = await asyncio.open_connection("127.0.0.1", example.port)
        writer.write(b"GET /quick HTTP/1.1\r\nHost: example\r\n\r\n")
        assert (await reader.read()).endswith(b"done")  # to the end: the process closes it
        writer.close()


async def test_a_process_waits_for_a_database_that_is_not_there_yet_and_says_so_once(
    start: Start, empty_database: Callable[[], str]
) -> None:
    proxy = DatabaseProxy(empty_database())
    await proxy.start()
    await proxy.stop()
    async with start(postgres_dsn=proxy.dsn) as example:
        await example.read_until("waiting_for_database")
        assert "Connect" in example.lines[-1]["why"]
        status, body, _ = await ask(example.ops_url + "/readyz")
        assert (status, json.loads(body)["notReady"]) == (503, ["starting"])
        assert (await ask(example.ops_url + "/livez"))[0] == 200
        await proxy.start(proxy.port)
        await example.read_until("listening")
        assert (await ask(example.ops_url + "/readyz"))[0] == 200
    await proxy.stop()
    assert example.events == ["waiting_for_database", "listening"]


async def test_a_process_that_waits_for_its_database_can_be_stopped(start: Start) -> None:
    async with start(postgres_dsn=f"postgresql://127.0.0.1:{choose_free_port()}/none") as example:
        await example.read_until("waiting_for_database")
        example.process.send_signal(signal.SIGTERM)
        assert await example.process.wait() == 0


async def test_a_process_that_may_open_few_files_says_what_that_leaves_and_serves_so_many(start: Start) -> None:
    async with start(command=("bash", "-c", 'ulimit -n 64; exec "$@"', "bash")) as example:
        await example.read_until("listening")
        told = [(line["listener"], line["connections"], line["wanted"]) for line in example.lines[:-1]]
        assert told == [("admin", 16, 4096), ("api", 16, 4096)]
        kept = [await asyncio.open_connection("127.0.0.1", example.port) for _ in range(15)]
        assert (await ask(example.url + "/quick"))[0] == 200
        kept.append(await asyncio.open_connection("127.0.0.1", example.port))
        assert (await ask(example.url + "/quick"))[0] == 503
        assert (await ask(example.ops_url + "/readyz"))[0] == 200
        for _, writer in kept:
            writer.close()
