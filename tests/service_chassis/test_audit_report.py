"""What people see of an audit."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service_chassis.cli.audit_report import AuditReport, Finding, show_report

SUBJECT = "plan_play.created:01a2149c-3046-7077-9dbd-96db5cd5fd8e"


def test_no_end_of_an_id_is_cut_off_on_a_narrow_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report = AuditReport("activity")
    report.add_violations([Finding("charge_of_another_client", SUBJECT, "of [one], charged to [/another]")])
    show_report(report, as_json=False)
    shown = capsys.readouterr().out
    [line] = [line for line in shown.splitlines() if line.startswith("violation")]
    assert SUBJECT in line.split()
    assert "of [one]" in shown
    assert "[/another]" in shown


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("service", ["activity", "metering"])
def test_a_verdict_that_cannot_be_written_is_none(
    service: str, options: tuple[str, ...], fresh_database: Callable[[str], str]
) -> None:
    dsn = fresh_database(f"{service}_service")
    # As where nobody has Python's output unbuffered: what is left of it is written again at the end.
    environment = {**os.environ, f"{service.upper()}_POSTGRES_DSN": dsn, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", f"{service}_service", "audit", *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(f"{service}_service: no verdict: [Errno 28]")
    assert len(done.stderr.splitlines()) == 1
