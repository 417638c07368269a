"""How many decisions a second this process makes, by outcome."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SAMPLE_INTERVAL_SECONDS = 10.0
KEPT_SAMPLES = 31
"""Five minutes, from one to the next."""

Outcome = tuple[str, str]
"""Decision and code, as the metric has them."""


@dataclass(slots=True)
class WatchDecisions:
    """Looks at the process's own counters now and then; other processes have theirs."""

    count: Callable[[], Mapping[Outcome, float]]
    now: Callable[[], float] = time.monotonic
    _samples: deque[tuple[float, Mapping[Outcome, float]]] = field(
        default_factory=lambda: deque(maxlen=KEPT_SAMPLES), init=False
    )

    async def run_once(self) -> None:
        """Note what the counters say."""
        self._samples.append((self.now(), self.count()))

    def measure(self) -> tuple[float, dict[Outcome, float]]:
        """Return over how many seconds, at most five minutes, and how many decisions a second there were."""
        if not self._samples:
            return 0.0, {}
        began, before = self._samples[0]
        seconds = self.now() - began
        present = self.count()
        made = {outcome: number - before.get(outcome, 0) for outcome, number in present.items()}
        return seconds, {outcome: number / seconds for outcome, number in made.items() if number} if seconds else {}
