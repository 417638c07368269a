"""What people see of rows, on a screen and in a pipe."""

from datetime import UTC, datetime

import pytest

from service_chassis.cli.columns import print_columns


def test_columns_stand_under_their_headings_and_nothing_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    long = "plan_play.created:01a2149c-3046-7077-9dbd-96db5cd5fd8e"
    rows = [(1, long, None, True), (22, "[b]", {"limit": 3}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))]
    print_columns(("n", "event", "rate", "at"), rows)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split() == ["n", "event", "rate", "at"]
    assert second.split() == ["1", long, "yes"]
    assert third.split() == ["22", "[b]", "limit", "3", "2026-01-02", "03:04:05"]
    assert first.index("rate") == third.index("limit")
    assert second.index("yes") == third.index("2026")


def test_control_characters_of_other_peoples_words_are_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_columns(("note",), [("a\nb\x1b[2Jc",)])
    assert capsys.readouterr().out == "note\na\\nb\\x1b[2Jc\n"
