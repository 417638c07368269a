"""What a question is, and how much time it may take."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.finding import Finding
from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a question may take."""

    rounds: int
    run_seconds: int
    warm_up_seconds: int

    is_quick: bool = False
    connections: tuple[int, ...] = (64, 256)
    """What wrk sends over, where a question is asked with several numbers; targets are about the first."""


FULL = Effort(rounds=5, run_seconds=3, warm_up_seconds=2)
QUICK = Effort(rounds=2, run_seconds=1, warm_up_seconds=1, is_quick=True, connections=(64,))
"""For seeing that everything runs; too short to be quoted."""


@dataclass(frozen=True, slots=True)
class Question:
    """One file of `bench/questions`."""

    name: str
    title: str
    ask: Callable[[Stage, Effort], Finding]
    in_quick: bool = True
    in_full: bool = True
    """False: asked only by name, `--only NAME`; for questions that take many minutes."""
