"""Interleaved rounds: A B A B, so that whatever the machine does meanwhile happens to both."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from bench.finding import Claim, Run
from bench.question import Effort

Measure = Callable[[int], Run]
"""Measures a side for so many seconds."""
Cost = Literal["cpu_seconds", "database_cpu_seconds", "p50", "p99"]


def interleave(sides: Mapping[str, Measure], effort: Effort) -> dict[str, list[Run]]:
    """Warm every side up, then measure each once a round; every other round backwards: nobody is always first."""
    for measure in sides.values():
        measure(effort.warm_up_seconds)
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(effort.rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            runs[name].append(sides[name](effort.run_seconds))
    return runs


def compare(text: str, ours: Sequence[Run], theirs: Sequence[Run], target: float | None = None) -> Claim:
    """Claim a ratio of rates, round by round."""
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    return Claim(text, ratios, target)


def compare_cost(
    text: str, ours: Sequence[Run], theirs: Sequence[Run], cost: Cost, target: float | None = None
) -> Claim:
    """Claim a ratio of a latency or of processor time, round by round: the smaller the better."""
    ratios = [getattr(one, cost) / getattr(other, cost) for one, other in zip(ours, theirs, strict=True)]
    return Claim(text, ratios, target, at_most=True)
