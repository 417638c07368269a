"""What this service counts, besides its requests."""

from metering_client.metrics import BillingMetrics
from service_chassis.operations.metrics import Metrics


class ActivityMetrics(BillingMetrics):
    """The service's own metrics and those of its billing, made once per application."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__("activity", metrics.registry)
        self.overload_refusals = metrics.counter(
            "activity_overload_refusals",
            "Requests refused because too many were under way, of all or of their client.",
        )
        self.clock_apart = metrics.gauge(
            "clock_apart_seconds", "How far the process's clock is apart from its database's."
        )
