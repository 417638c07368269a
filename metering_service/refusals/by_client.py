"""Refusals by client and code, for metrics, with a bounded number of series."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import prometheus_client

from metering_service.refusals.refusal import RefusalKey, Refusals

NAMED_CLIENTS = 50
"""Clients with a label value of their own at a time, in each process."""
CHOOSE_INTERVAL_SECONDS = 3_600
OTHER = "other"


class RefusalsByClient:
    """Counts refusals under the name of the client, or under `other`.

    How it is bounded: a client gets a name with its first refusal while fewer than NAMED_CLIENTS have one. Once an
    hour the names go to those that were refused most in that hour, and the series of a client that loses its name is
    removed. So a process never has more than NAMED_CLIENTS + 1 values of the label, each with the few codes there
    are, and Prometheus gets at most so many new ones in an hour. What was counted as `other` stays there: no counter
    goes back, and a client that gets its name later begins at 0.
    """

    def __init__(self, counter: prometheus_client.Counter, now: Callable[[], float] = time.monotonic) -> None:
        self._counter = counter
        self._now = now
        self._named: set[str] = set()
        self._of_this_hour: Counter[str] = Counter()
        self._choose_at = now() + CHOOSE_INTERVAL_SECONDS

    def add(self, refused: Mapping[RefusalKey, Refusals]) -> None:
        """Count what was refused since the last time."""
        counts: Counter[tuple[str, str]] = Counter()
        for key, refusals in refused.items():
            counts[key.client_id, key.code] += refusals.count
            self._of_this_hour[key.client_id] += refusals.count
        if self._now() >= self._choose_at:
            self._choose()
        # Those refused most first: where there is room for some only, they get it.
        for (client_id, code), count in counts.most_common():
            if len(self._named) < NAMED_CLIENTS:
                self._named.add(client_id)
            self._counter.labels(client_id if client_id in self._named else OTHER, code).inc(count)

    def _choose(self) -> None:
        chosen = {client_id for client_id, _ in self._of_this_hour.most_common(NAMED_CLIENTS)}
        for client_id in self._named - chosen - {OTHER}:
            self._counter.remove_by_labels({"client": client_id})
        self._named = chosen
        self._of_this_hour.clear()
        self._choose_at = self._now() + CHOOSE_INTERVAL_SECONDS
