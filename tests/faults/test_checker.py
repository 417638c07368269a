"""The checker, on histories made by hand: silent about what may be, and loud about each thing that may not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prove.history import Attempt, Change, History
from tests.faults.campaign import Outcome
from tests.faults.checker import check_history
from tests.faults.fault_kinds import FAULTS
from tests.faults.rows import HoldRow, PlayRow

START = datetime(2026, 1, 1, tzinfo=UTC)
PRICED = {"prices": {"*": 1}}
BOUNDED = {"prices": {"*": 0}, "quotas": [{"name": "q", "limit": 1, "period": "month"}]}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(operation: str = "create-1", kind: str = "create", status: int | None = 201, **what: Any) -> Attempt:
    begun_at, ended_at = at(what.pop("begun", 100)), at(what.pop("ended", 101))
    answer = what.pop("answer", {"data": {"id": "play-1"}} if status == 201 else None)
    return Attempt(1, operation, kind, "acme", begun_at, ended_at=ended_at, status=status, answer=answer, **what)


def play(
    play_id: str = "play-1", marker: str = "create-1", *, key: str | None = None, ended: bool = False
) -> PlayRow:
    return PlayRow(play_id, "acme", marker, key, ended)


def hold(state: str = "settled", held: float = 50, closed: float = 51, **what: Any) -> HoldRow:
    return HoldRow("acme", "e", state, what.pop("credits", 1), at(held), at(closed), what.pop("late", False))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.jsonl")
    yield history
    history.close()


def rules(
    history: History, attempts: list[Attempt], plays: list[PlayRow], holds: list[HoldRow] | None = None
) -> list[str]:
    history.attempts += attempts
    return sorted(finding.rule for finding in check_history(history, plays, holds or []))


SOUND: dict[str, tuple[list[Attempt], list[PlayRow]]] = {
    "acknowledged and there": ([attempt()], [play()]),
    "in doubt and there": ([attempt(status=500)], [play()]),
    "in doubt and not there": ([attempt(status=None)], []),
    "refused and not there": ([attempt(status=429)], []),
    "in doubt, then answered by the same key": (
        [attempt(status=None, key="k"), attempt(key="k")],
        [play(key="k")],
    ),
    "in doubt, then refused, and there all the same": ([attempt(status=None), attempt(status=429)], [play()]),
    "completed and there": (
        [attempt(), attempt("complete-1", "complete", 200, play_id="play-1")],
        [play(ended=True)],
    ),
    "completion refused": ([attempt(), attempt("complete-1", "complete", 429, play_id="play-1")], [play()]),
    "key with another body refused": (
        [attempt(key="k"), attempt("other-create-1", status=400, key="k")],
        [play(key="k")],
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_may_be_is_no_finding(history: History, case: str) -> None:
    assert rules(history, *SOUND[case]) == []


UNSOUND: dict[str, tuple[list[Attempt], list[PlayRow]]] = {
    "1-lost-create": ([attempt()], []),
    "1-unasked": ([], [play()]),
    "1-created-twice": ([attempt(), attempt(answer={"data": {"id": "play-2"}})], [play(), play("play-2")]),
    "1-refused-and-created": ([attempt(status=429)], [play()]),
    "1-lost-completion": ([attempt(), attempt("c", "complete", 200, play_id="play-1")], [play()]),
    "1-unasked-completion": ([attempt()], [play(ended=True)]),
    "1-refused-and-completed": ([attempt(), attempt("c", "complete", 429, play_id="play-1")], [play(ended=True)]),
    "5-key-with-two-plays": (
        [attempt(key="k"), attempt("create-2", key="k")],
        [play(key="k"), play("play-2", "create-2", key="k")],
    ),
    "5-key-with-two-answers": (
        [attempt(key="k"), attempt(key="k", answer={"data": {"id": "play-1"}, "x": 1})],
        [play()],
    ),
    "5-other-body": ([attempt(), attempt("other-create-1", status=None)], [play(), play("play-2", "other-create-1")]),
}


@pytest.mark.parametrize("rule", UNSOUND)
def test_what_may_not_be_is_found(history: History, rule: str) -> None:
    assert rule in rules(history, *UNSOUND[rule])


def refusal(code: str) -> Attempt:
    return attempt(status=429, code=code)


def test_balance_refusal_needs_a_moment_at_which_the_balance_was_spent(history: History) -> None:
    history.changes = [Change("acme", at(0), credits=2, done_at=at(1)), Change("acme", at(0), policy=PRICED)]
    spent = [hold(), hold(state="released", held=90, closed=100.5)]
    assert rules(history, [refusal("api_balance_exhausted")], [], spent) == []
    history.attempts.clear()
    long_free = [hold(), hold(state="released", held=50, closed=60)]
    assert rules(history, [refusal("api_balance_exhausted")], [], long_free) == ["4-false-refusal"]
    history.attempts.clear()
    later = [hold(), hold(held=102)]
    assert rules(history, [refusal("api_balance_exhausted")], [], later) == ["4-false-refusal"]


def test_grant_that_is_not_acknowledged_before_a_refusal_proves_nothing(history: History) -> None:
    history.changes = [Change("acme", at(99), credits=2, done_at=at(101)), Change("acme", at(0), policy=PRICED)]
    assert rules(history, [refusal("api_balance_exhausted")], []) == []


def test_quota_refusal_needs_a_moment_at_which_the_quota_was_used(history: History) -> None:
    history.changes = [Change("acme", at(0), policy=BOUNDED, done_at=at(1))]
    assert rules(history, [refusal("api_quota_exceeded")], [], [hold()]) == []
    history.attempts.clear()
    assert rules(history, [refusal("api_quota_exceeded")], [], []) == ["4-false-refusal"]


def test_late_charge_and_torn_read_are_found(history: History) -> None:
    history.torn_reads.append("acme: balance does not add up")
    assert rules(history, [], [], [hold(late=True)]) == ["3-late-charge", "3-torn-read"]


def test_run_in_which_nobody_was_in_doubt_and_nothing_was_mended_is_void() -> None:
    assert Outcome(seed=1, attempts=1000).is_void
    assert not Outcome(seed=1, unknown=1).is_void
    assert not Outcome(seed=1, abandoned=1).is_void


def test_evidence_of_a_play_is_its_whole_history(history: History) -> None:
    sent = history.begin("create-1", "create", "acme", key="k")
    history.end(sent, 201, {"data": {"id": "play-1"}})
    history.begin("complete-2", "complete", "acme", play_id="play-1")
    history.begin("create-3", "create", "acme")
    assert len(list(history.related({"play-1"}))) == 2


def test_every_part_and_every_wire_has_its_faults() -> None:
    for part in ("activity", "metering", "catalog", "postgres", "redis", "everything", "second product"):
        assert any(name.startswith(part) for name in FAULTS), part
    for how in ("refuse", "reset", "stall", "delay", "half-close"):
        assert sum(name.startswith(how) for name in FAULTS) == 7
