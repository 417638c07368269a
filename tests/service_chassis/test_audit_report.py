"""What people see of an audit."""

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
