"""Every panel and every alert, asked of a real Prometheus that has read a real stack at work."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from local_stack.ports import LOOPBACK_OPENER, choose_free_port
from tests.deploy.dashboards import list_panels, substitute
from tests.stack.api import Api

DEPLOY = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
SERVICES = ("catalog", "activity", "metering")
WINDOW = "1m"
WAIT_SECONDS = 60.0
OF_THE_MACHINE = {"SlowRequests", "Overloaded", "PoolExhausted"}
"""Alerts that a busy one may raise, whatever we do."""
NORMAL_ANSWERS = {200, 201, 401, 403, 429}

pytestmark = [
    pytest.mark.stack,
    pytest.mark.system,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="Prometheus is not installed: panels and alerts are not asked"
    ),
]


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str) -> Any:
        with LOOPBACK_OPENER.open(f"{self.url}/api/v1/{path}", timeout=10) as response:
            document = json.loads(response.read())
        assert document["status"] == "success"
        return document["data"]

    def query(self, expression: str) -> list[Any]:
        found: list[Any] = self.ask(f"query?query={quote(expression)}")["result"]
        return found

    def wait_for(self, expression: str) -> list[Any]:
        """Return the series of an expression once there are any; none when that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := self.query(expression)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def prometheus(stack: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run one with the product's own configuration, but for the addresses and how often it looks."""
    directory = tmp_path_factory.mktemp("prometheus")
    shutil.copy(DEPLOY / "alerts.yml", directory)
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"] = [
        {
            "job_name": each["job_name"],
            "static_configs": [{"targets": [stack[each["job_name"]]["ops_url"].removeprefix("http://")]}],
        }
        for each in configuration["scrape_configs"]
        if each["job_name"] in SERVICES
    ]
    assert len(configuration["scrape_configs"]) == len(SERVICES)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{choose_free_port()}"
    command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                LOOPBACK_OPENER.open(f"http://{address}/-/ready", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.1)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)


async def work(api: Api) -> None:
    """Do a little of everything that there is to see."""
    tokens = {each: await api.token(each) for each in ("demo-unlimited", "demo-rate", "demo-quota", "demo-credits")}
    status, made = await api.plays("POST", tokens["demo-unlimited"], body={"planId": "p"})
    assert status == 201
    calls = [api.plays("POST", token, body={"planId": "p"}) for token in tokens.values() for _ in range(8)]
    calls += [
        api.plays("PATCH", tokens["demo-unlimited"], f"/{made['data']['id']}", {"status": "ended"}),
        api.plays("GET", tokens["demo-unlimited"], f"/{made['data']['id']}"),
        api.plays("GET", "no.such.token"),
        api.catalog("get-plans", {}, tokens["demo-unlimited"]),
    ]
    assert {status for status, _ in await asyncio.gather(*calls)} <= NORMAL_ANSWERS


def test_the_compose_files_health_check_is_one(prometheus: Prometheus) -> None:
    composed = yaml.safe_load((DEPLOY.parent.parent / "docker-compose.yml").read_text())["services"]["prometheus"]
    _, *check = composed["healthcheck"]["test"]
    command = [prometheus.url if part.startswith("http") else part for part in check]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    away = [f"http://127.0.0.1:{choose_free_port()}" if part.startswith("http") else part for part in check]
    assert subprocess.run(away, check=False, capture_output=True).returncode != 0


async def test_every_panel_shows_something_and_every_alert_is_asked_and_none_is_raised(
    prometheus: Prometheus, api: Api, stack: dict[str, Any]
) -> None:
    for service in SERVICES:  # as a proxy does, all the time
        LOOPBACK_OPENER.open(stack[service]["ops_url"] + "/readyz", timeout=5).close()
    # Twice, and between them a look of Prometheus: a rate is of two of them.
    await work(api)
    refused = "sum(metering_refusals_total)"
    [before] = await asyncio.to_thread(prometheus.wait_for, refused)
    await work(api)
    assert await asyncio.to_thread(prometheus.wait_for, f"{refused} > {before['value'][1]}")

    empty = {}
    for panel in list_panels():
        for query in panel.queries:
            if not await asyncio.to_thread(prometheus.wait_for, substitute(query, window=WINDOW)):
                empty[panel.title] = query
    assert empty == {}

    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == (DEPLOY / "alerts.yml").read_text().count("- alert: ")
    assert {(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"} == set()
    assert {rule["name"] for rule in rules if rule["state"] != "inactive"} - OF_THE_MACHINE == set()
