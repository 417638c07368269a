"""What a question finds: runs of its sides, and the ratios that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


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
    """What came of a question."""

    claims: list[Claim] = field(default_factory=list)
    sides: dict[str, list[Run]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Whatever makes the figures worthless: something oversold or lost, a refusal where none should be."""
    notes: list[str] = field(default_factory=list)
    plot: Plot | None = None
