"""What a question is, and what its answer is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
class Run:
    """One side in one round."""

    rate: float
    """What is counted, a second: requests, or decisions where a request carries several."""
    cpu_seconds: float
    """Processor time of the side's own processes for each of them, without databases and load."""
    database_cpu_seconds: float
    p50: float
    p99: float
    """Latency in seconds."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One ratio that is asked for. `target` None: reported, nothing is promised."""

    text: str
    ratios: Sequence[float]
    """One for each round."""
    target: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        """The figure that counts."""
        return median(self.ratios)

    @property
    def is_reached(self) -> bool:
        """Whether the median is where it should be."""
        if self.target is None:
            return True
        return self.median <= self.target if self.at_most else self.median >= self.target


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot whose question is how something grows."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over something that grows. Without one, a question's plot shows its claims, round by round."""

    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log_x: bool = False


@dataclass(slots=True)
class Finding:
    """The answer to a question."""

    claims: list[Claim] = field(default_factory=list)
    sides: dict[str, list[Run]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Whatever makes the figures worthless: something oversold or lost, a refusal where none should be."""
    notes: list[str] = field(default_factory=list)
    plot: Plot | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One file of `bench/questions`."""

    name: str
    title: str
    ask: Callable[["Stage", Effort], Finding]
    in_quick: bool = True
    in_full: bool = True
    """False: asked only by name, `--only NAME`; for questions that take many minutes."""
