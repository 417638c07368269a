"""Prometheus metrics of one process: its own registry, so that several applications can live in one test."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
# A second series for each counter and histogram, that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 500)


class Metrics:
    """The registry and the metrics that every service has. Services make theirs of the library's classes, in it.

    A counter is named without the `_total` that Prometheus adds. Histograms are of seconds, or of sizes of batches.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.counter = partial(Counter, registry=self.registry)
        self.gauge = partial(Gauge, registry=self.registry)
        self.histogram = partial(Histogram, registry=self.registry, buckets=_SECONDS)
        self.size_histogram = partial(Histogram, registry=self.registry, buckets=BATCH_SIZES)
        self._requests = self.histogram(
            "http_request_seconds", "Time to answer a request.", ["method", "route", "status"]
        )
        self.connections = self.gauge("http_connections", "Open connections of callers, by listener.", ["listener"])
        self.connections_refused = self.counter(
            "http_connections_refused",
            "Connections ended without a request, by listener and reason.",
            ["listener", "reason"],
        )
        self._requests_of: dict[tuple[str, str, int], Histogram] = {}

    @staticmethod
    def begin_at_zero(counter: Counter, *series: str | tuple[str, ...]) -> None:
        """Have a counter's series be there before their first event, by the values of their labels.

        Prometheus sees no increase in a series that begins with 1, and an alert of a first event stands on it.
        """
        for values in series:
            counter.labels(*([values] if isinstance(values, str) else values))

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `method` and `route` must be of a small set."""
        key = (method, route, status)
        requests = self._requests_of.get(key)
        if requests is None:  # `labels` takes a lock and builds strings, for each request
            requests = self._requests_of[key] = self._requests.labels(method, route, str(status))
        requests.observe(seconds)

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
