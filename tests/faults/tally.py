"""The figures of several seeds, as the table that a campaign ends with."""

from collections import Counter, defaultdict
from statistics import median

from rich.console import Console
from rich.table import Table

from service_chassis.cli.audit_report import Finding
from tests.faults.campaign import Outcome


class Tally:
    """Adds up outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Add one seed's."""
        self.outcomes.append(outcome)

    @property
    def violations(self) -> list[tuple[int, Finding]]:
        """Every violation with its seed."""
        return [(outcome.seed, finding) for outcome in self.outcomes for finding in outcome.violations]

    @property
    def is_void(self) -> bool:
        """Whether any seed was without effect: it shows nothing, and must not count as passed."""
        return any(outcome.is_void for outcome in self.outcomes)

    def show(self, console: Console) -> None:
        """Print the table of faults, the totals, the violations with their history, and the verdict."""
        console.print(self._faults())
        totals = Table("what", "how many", title="Operations")
        for what in (
            "attempts",
            "unknown",
            "plays",
            "answers",
            "charges",
            "abandoned",
            "replayed",
            "restarts",
            "reads",
            "refunds",
            "recurrences",
            "moves",
        ):
            totals.add_row(_WORDS[what], f"{sum(getattr(outcome, what) for outcome in self.outcomes):,}")
        refused: Counter[str] = sum((outcome.refused for outcome in self.outcomes), Counter())
        for code, number in sorted(refused.items()):
            totals.add_row(f"answered {code}", f"{number:,}")
        for what, words in (
            ("rest_seconds", "longest way to rest after the last fault, s"),
            ("longest_hold_seconds", "longest life of a hold, outages included, s"),
            ("days", "furthest that metering's time was moved, days"),
        ):
            totals.add_row(words, f"{max(getattr(outcome, what) for outcome in self.outcomes):.1f}")
        console.print(totals)
        for outcome in self.outcomes:
            for finding in outcome.violations[:20]:
                console.print(f"VIOLATION, seed {outcome.seed}: {finding.rule}, {finding.subject}: {finding.detail}")
            for line in outcome.evidence:
                console.print(f"  {line}", soft_wrap=True, markup=False)
        console.print(self._verdict())

    def _faults(self) -> Table:
        injected: Counter[str] = sum((outcome.faults for outcome in self.outcomes), Counter())
        missed: Counter[str] = sum((outcome.missed for outcome in self.outcomes), Counter())
        recovery: dict[str, list[float]] = defaultdict(list)
        for outcome in self.outcomes:
            for name, seconds in outcome.recovery_seconds.items():
                recovery[name] += seconds
        table = Table("fault", "times", "without effect", "recovery s, median", "longest", title="Faults")
        for name in sorted(injected | missed):
            seconds = recovery[name] or [0.0]
            table.add_row(
                name, str(injected[name]), str(missed[name]), f"{median(seconds):.2f}", f"{max(seconds):.2f}"
            )
        return table

    def _verdict(self) -> str:
        seeds = ", ".join(str(outcome.seed) for outcome in self.outcomes)
        if self.violations:
            return f"NOT SOUND: {len(self.violations)} violations, seed {self.violations[0][0]}."
        if self.is_void:
            return f"VOID: in a seed of {seeds} no fault bit; nothing was shown."
        return f"Sound: every invariant held, seeds {seeds}."


_WORDS = {
    "attempts": "requests",
    "unknown": "requests with unknown outcome",
    "plays": "plays there are",
    "answers": "answers of the second product",
    "charges": "charges there are",
    "abandoned": "holds that a sweeper gave back",
    "replayed": "internal requests said again",
    "restarts": "services started again",
    "reads": "balances read meanwhile",
    "refunds": "refunds there are",
    "recurrences": "grants that came again",
    "moves": "times that metering's time was moved",
}
