"""The checker of the second product, on histories made by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from prove.history import Attempt
from tests.faults.tokens import AnswerRow, check_answers

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def bought(status: int | None = 200, tokens: int = 3) -> Attempt:
    answer = {"tokens": tokens} if status == 200 else None
    return Attempt(1, "answer-1", "buy", "acme", NOW, ended_at=NOW, status=status, answer=answer)


def row(event_id: str = "e", operation: str = "answer-1") -> AnswerRow:
    return AnswerRow(event_id, "acme", operation, 3)


CHARGED = {"e": 3}
CASES: dict[str, tuple[list[Attempt], list[AnswerRow], Mapping[str, int], list[str]]] = {
    "told and charged": ([bought()], [row()], CHARGED, []),
    "in doubt, and not there": ([bought(None)], [], {}, []),
    "in doubt, and there": ([bought(500)], [row()], CHARGED, []),
    "refused, and not there": ([bought(429)], [], {}, []),
    "not charged": ([bought()], [row()], {}, ["2-units"]),
    "charged as another number": ([bought()], [row()], {"e": 5}, ["2-units"]),
    "charged, and not there": ([bought(None)], [], CHARGED, ["2-charge-without-answer"]),
    "asked by nobody": ([], [row()], CHARGED, ["1-unasked"]),
    "there twice": ([bought()], [row(), row("f")], {"e": 3, "f": 3}, ["1-created-twice"]),
    "refused, and there": ([bought(429)], [row()], CHARGED, ["1-refused-and-created"]),
    "told, and not there": ([bought()], [], {}, ["1-lost-create"]),
    "told otherwise than it is": ([bought(tokens=4)], [row()], CHARGED, ["1-lost-create"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_checker_is_silent_about_what_may_be_and_loud_about_what_may_not(case: str) -> None:
    attempts, rows, charged, rules = CASES[case]
    assert [finding.rule for finding in check_answers(attempts, rows, charged)] == rules
