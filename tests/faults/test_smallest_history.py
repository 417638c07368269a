"""What is printed about a violation cannot be made shorter, and says nothing that the whole history does not say."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prove.history import Attempt, Change, Record
from service_chassis.cli.audit_report import Finding
from tests.faults.checker import Conditions, check_history
from tests.faults.rows import HoldRow, PlayRow
from tests.faults.smallest_history import describe, find_smallest_history, shrink
from tests.faults.test_checker import UNSOUND, at, attempt, hold, play

CROWD = 300


def crowd() -> tuple[list[Attempt], list[PlayRow]]:
    """Creates that are as they should be."""
    numbers = range(1000, 1000 + CROWD)
    asked = [attempt(f"create-{n}", answer={"data": {"id": f"play-{n}"}}) for n in numbers]
    return asked, [play(f"play-{n}", f"create-{n}") for n in numbers]


def findings(record: Record, plays: Sequence[PlayRow], holds: Sequence[HoldRow] = ()) -> list[Finding]:
    return list(check_history(record, plays, holds))


@pytest.mark.parametrize("rule", UNSOUND)
def test_each_violation_is_shown_without_the_crowd_and_without_a_line_too_many(rule: str) -> None:
    attempts, plays = UNSOUND[rule]
    others, their_plays = crowd()
    half = CROWD // 2
    record = Record(attempts=[*others[:half], *attempts, *others[half:]])
    rows = [*their_plays[half:], *plays, *their_plays[:half]]
    finding = next(each for each in findings(record, rows) if each.rule == rule)
    smallest = find_smallest_history(finding, record, rows, [])
    assert 1 <= len(smallest) <= len(attempts) + len(plays)
    for index in range(len(smallest)):
        less = smallest[:index] + smallest[index + 1 :]
        asked = [piece for piece in less if isinstance(piece, Attempt)]
        there = [piece for piece in less if isinstance(piece, PlayRow)]
        assert finding not in findings(Record(attempts=asked), there)


def test_false_refusal_keeps_every_hold_that_speaks_for_the_refusal() -> None:
    """Without them the refusal would look more wrong than it was."""
    changes = [
        Change("acme", at(0), credits=5, done_at=at(1)),
        Change("acme", at(0), policy={"prices": {"*": 1}}),
        Change("other", at(0), credits=9, done_at=at(1)),
    ]
    refused = attempt("create-7", status=429, code="api_balance_exhausted")
    holds = [hold(), hold(), hold(), *[HoldRow("other", "e", "settled", 1, at(5), at(6), False) for _ in range(50)]]
    record = Record(attempts=[*crowd()[0], refused], changes=changes)
    finding = next(each for each in findings(record, crowd()[1], holds) if each.rule == "4-false-refusal")
    assert find_smallest_history(finding, record, crowd()[1], holds) == [*changes[:2], refused, *holds[:3]]


def test_finding_of_an_audit_is_not_made_up_from_the_log() -> None:
    finding = Finding("2-charge-missing", "plan_play.created:play-1", "no charge")
    assert find_smallest_history(finding, Record(attempts=[attempt()]), [play()], []) == []


def test_clock_skew_of_the_run_applies_to_every_part() -> None:
    changes = [
        Change("acme", at(0), credits=1, done_at=at(1)),
        Change("acme", at(0), policy={"prices": {"*": 1}}),
    ]
    record = Record(attempts=[attempt(status=429, code="api_balance_exhausted")], changes=changes)
    late = [hold(held=104)]
    finding = findings(record, [], late)[0]
    assert find_smallest_history(finding, record, [], late)
    assert find_smallest_history(finding, record, [], late, Conditions(clock_skew_seconds=5)) == []


@given(st.sets(st.integers(0, 199), max_size=6), st.integers(1, 200))
def test_shrinking_leaves_just_what_is_needed_in_order(needed: set[int], size: int) -> None:
    wanted = {number for number in needed if number < size}
    assert shrink(range(size), lambda part: wanted <= set(part)) == sorted(wanted)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_what_is_left_lacks_nothing_and_has_nothing_to_spare(numbers: list[int]) -> None:
    def shows(part: Sequence[int]) -> bool:
        return sum(part) >= 10 or len(part) == len(numbers)

    left = shrink(numbers, shows)
    assert shows(left)
    assert not any(shows(left[:index] + left[index + 1 :]) for index in range(len(left)))


def test_lines_name_what_each_piece_is(tmp_path: Path) -> None:
    pieces: list[Any] = [attempt(), Change("acme", at(0), credits=2), play(), hold(), "acme: does not add up"]
    words = [line.split(" {")[0] for line in describe(pieces)]
    assert words == ["request", "operator", "there is play", "there is hold", "read acme: does not add up"]


def test_a_long_history_is_shrunk_in_seconds() -> None:
    others, rows = crowd()
    many = [each for _ in range(50) for each in others]
    lost = attempt("create-1", ended=timedelta(seconds=5).seconds)
    record = Record(attempts=[*many, lost, *many])
    finding = next(each for each in findings(record, rows) if each.subject == "create-1")
    assert find_smallest_history(finding, record, rows, []) == [lost]
