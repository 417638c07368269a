"""The counting finds what was sold wrongly, and nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from prove.counting import Count, Sales, acknowledged_operations, count_sales
from prove.history import Attempt

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ONE_OF_ONE = {"client-1": 1}


def attempt(operation: str, status: int | None) -> Attempt:
    return Attempt(0, operation, "create", "client-1", NOW, key=operation, ended_at=NOW, status=status)


def count(attempts: Sequence[Attempt], sales: Sales, given: dict[str, int], *, is_final: bool = True) -> Count:
    return count_sales(attempts, acknowledged_operations(attempts), sales, given, is_final=is_final)


def plays(*operations: str) -> list[tuple[str, str]]:
    return [("client-1", operation) for operation in operations]


def test_plays_with_a_charge_each_within_what_the_client_had_are_sound() -> None:
    attempts = [attempt("a", None), attempt("a", 201), attempt("b", 201), attempt("c", 429)]
    seen = count(attempts, Sales(plays("a", "b"), ["a", "b"]), {"client-1": 2})
    assert seen == Count(sent=4, acknowledged=2, refused=1, unanswered=1, charged=2)
    assert seen.is_sound


def test_every_play_beyond_what_its_client_had_is_oversold() -> None:
    sales = Sales([*plays("a", "b", "c"), ("client-2", "d")], ["a", "b", "c", "d"])
    seen = count([], sales, {"client-1": 1, "client-2": 5})
    assert (seen.oversold, seen.is_sound) == (2, False)


def test_a_play_of_a_client_that_was_given_nothing_is_oversold() -> None:
    assert count([], Sales(plays("a"), ["a"]), {}).oversold == 1


def test_every_charge_of_a_play_but_the_first_is_charged_twice() -> None:
    seen = count([], Sales(plays("a"), ["a", "a", "a"]), ONE_OF_ONE)
    assert (seen.charged_twice, seen.lost, seen.is_sound) == (2, 0, False)


@pytest.mark.parametrize("is_final", [True, False])
def test_an_acknowledged_play_that_is_not_there_is_lost_at_once(is_final: bool) -> None:
    seen = count([attempt("a", 201)], Sales(), ONE_OF_ONE, is_final=is_final)
    assert (seen.lost, seen.is_sound) == (1, False)


@pytest.mark.parametrize("sales", [Sales(plays("a"), []), Sales([], ["a"])])
def test_a_play_without_a_charge_and_a_charge_without_a_play_are_lost_at_rest_only(sales: Sales) -> None:
    selling, at_rest = (count([], sales, ONE_OF_ONE, is_final=is_final) for is_final in (False, True))
    assert (selling.under_way, selling.lost, selling.is_sound) == (1, 0, True)
    assert (at_rest.under_way, at_rest.lost, at_rest.is_sound) == (0, 1, False)
