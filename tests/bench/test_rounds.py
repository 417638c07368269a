"""The arithmetic that turns runs into a verdict."""

from bench.finding import Claim, Run
from bench.question import Effort
from bench.rounds import compare, compare_cost, interleave


def run(rate: float, p99: float = 0.01) -> Run:
    return Run(rate, cpu_seconds=0.0, database_cpu_seconds=0.0, p50=0.001, p99=p99)


def test_sides_take_turns_after_a_warm_up_and_nobody_is_always_first() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str) -> Run:
        return run(len(calls))

    def measure(name: str, seconds: int) -> Run:
        calls.append((name, seconds))
        return side(name)

    runs = interleave({"A": lambda s: measure("A", s), "B": lambda s: measure("B", s)}, Effort(3, 5, 2))
    assert calls == [("A", 2), ("B", 2), ("A", 5), ("B", 5), ("B", 5), ("A", 5), ("A", 5), ("B", 5)]
    assert [each.rate for each in runs["A"]] == [3, 6, 7], "warm-ups are not counted"
    assert [each.rate for each in runs["B"]] == [4, 5, 8]


def test_a_ratio_is_of_one_round_and_not_of_medians() -> None:
    claim = compare("faster", [run(10), run(100), run(30)], [run(10), run(50), run(10)], target=2)
    assert list(claim.ratios) == [1, 2, 3]
    assert claim.median == 2
    assert claim.is_reached


def test_a_target_for_latency_is_reached_from_below() -> None:
    slower = compare_cost("quicker", [run(1, 0.03)], [run(1, 0.02)], "p99", 0.5)
    quicker = compare_cost("quicker", [run(1, 0.01)], [run(1, 0.02)], "p99", 0.5)
    assert (slower.median, slower.is_reached) == (1.5, False)
    assert (quicker.median, quicker.is_reached) == (0.5, True)


def test_what_just_misses_its_target_has_missed_it() -> None:
    assert not Claim("as fast", [0.849, 0.8499, 0.9], target=0.85).is_reached
    assert Claim("reported only", [0.1]).is_reached
