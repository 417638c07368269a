"""Alerts: each fires where it should and only there, stands on metrics that there are, and says what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dashboards import list_panels
from tests.deploy.published_metrics import list_published

ROOT = Path(__file__).parent.parent.parent
ALERTS_FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
CASES_FILE = Path(__file__).parent / "alerts_test.yml"
RUNBOOK = (ROOT / "docs" / "operations" / "runbook.md").read_text()
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS_FILE.read_text())["groups"] for rule in group["rules"]
]
NOT_OURS = {
    "up",
    "ALERTS",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""Series of Prometheus itself, and of its client."""
_NO_SERIES = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\b(by|ignoring) \([^)]*\)|\b[a-z_]+ ?\(|\b(or|unless|group_left|sum|min|max)\b"
)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: Prometheus's files are not tried"
)


def run_promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=CASES_FILE.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_every_alert_fires_where_it_should_and_only_there() -> None:
    assert "SUCCESS" in run_promtool("test", "rules", str(CASES_FILE))


@needs_promtool
def test_prometheus_takes_its_configuration_and_its_rules() -> None:
    run_promtool("check", "config", str(ALERTS_FILE.with_name("prometheus.yml")))
    assert f"{len(ALERTS)} rules found" in run_promtool("check", "rules", str(ALERTS_FILE))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [
        (each["alertname"], bool(each["exp_alerts"]))
        for case in yaml.safe_load(CASES_FILE.read_text())["tests"]
        for each in case["alert_rule_test"]
    ]
    assert sorted(set(cases)) == sorted((alert["alert"], fires) for alert in ALERTS for fires in (False, True))


def test_every_alert_leads_to_its_entry_in_the_runbook_and_every_entry_is_an_alerts() -> None:
    section = RUNBOOK.split("\n## Every alert\n")[1].split("\n## ")[0]
    entries = re.split(r"\n### (\w+)\n", section)[1:]
    told = dict(zip(entries[::2], entries[1::2], strict=True))
    assert told.keys() == {alert["alert"] for alert in ALERTS}
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/operations/runbook.md#{alert['alert'].lower()}"
        assert told[alert["alert"]].strip().startswith(f"`{alert['labels']['severity']}`. ")
        assert len(told[alert["alert"]].strip().split("\n\n")) == 2, "what it means, and what to do"


@pytest.mark.parametrize(
    ("name", "expression"),
    [(alert["alert"], alert["expr"]) for alert in ALERTS]
    + [(panel.title, query) for panel in list_panels() for query in panel.queries],
)
def test_what_an_alert_or_a_panel_asks_for_is_published(name: str, expression: str) -> None:
    published = {series for metric in list_published() for series in metric.series} | NOT_OURS
    asked = set(re.findall(r"\b[a-zA-Z_]{2,}", _NO_SERIES.sub(" ", expression)))
    named = set(re.findall(r'__name__=~"\(activity\|metering\)(\w+)"', expression))
    asked |= {f"{service}{rest}" for rest in named for service in ("activity", "metering")}
    assert asked, name
    assert asked - published == set()
