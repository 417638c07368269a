"""What this service counts, besides its requests."""

from functools import cache

from service_chassis.operations.metrics import Metrics


class MeteringMetrics:
    """The service's own metrics, made once per application."""

    def __init__(self, metrics: Metrics) -> None:
        self.authorize_batch = metrics.size_histogram(
            "metering_authorize_batch_events", "Events decided in one statement."
        )
        self.settle_batch = metrics.size_histogram("metering_settle_batch_events", "Events settled in one statement.")
        # Kept: `labels` takes a lock and builds strings. There are few of them.
        self.decisions = cache(metrics.counter("metering_decisions", "Decisions.", ["decision", "code"]).labels)
        self.clock_apart = metrics.gauge(
            "clock_apart_seconds", "How far the process's clock is apart from its database's."
        )
        self.background_rounds = metrics.counter(
            "metering_background_rounds", "Rounds of a background task, by how they ended.", ["task", "outcome"]
        )
        self.charged = metrics.counter("metering_charged", "Events charged.", ["late"])
        self.shadow_refusals = cache(
            metrics.counter(
                "metering_shadow_refusals", "Events that a shadow policy would have refused.", ["code"]
            ).labels
        )
        self.unchecked_rates = metrics.counter(
            "metering_rate_open", "Requests that passed without a rate check because Redis did not answer."
        )
        self.rates_failing_open = metrics.gauge(
            "metering_rates_failing_open_since_seconds",
            "Since when requests pass without a rate check, in seconds since 1970; 0 while rates are checked.",
        )
