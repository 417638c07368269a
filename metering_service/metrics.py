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
        self._decisions = metrics.counter("metering_decisions", "Decisions.", ["decision", "code"])
        metrics.begin_at_zero(self._decisions, ("error", "not_decided"), ("denied", "event_type_not_sold"))
        self.decisions = cache(self._decisions.labels)
        self.clock_apart = metrics.gauge(
            "clock_apart_seconds", "How far the process's clock is apart from its database's."
        )
        self.background_rounds = metrics.counter(
            "metering_background_rounds", "Rounds of a background task, by how they ended.", ["task", "outcome"]
        )
        charged = metrics.counter("metering_charged", "Events charged; late: without a live hold.", ["late"])
        self.charged = {False: charged.labels("false"), True: charged.labels("true")}
        self.credits_charged = metrics.counter("metering_credits_charged", "Credits that events were charged.")
        self.refusals = metrics.counter(
            "metering_refusals",
            "Events denied, by client and code: the clients refused most by name, all others as `other`.",
            ["client", "code"],
        )
        self.holds = metrics.gauge(
            "metering_holds", "Live holds, by how old they are: the oldest 10,000 of the database.", ["age"]
        )
        self.oldest_hold = metrics.gauge(
            "metering_oldest_hold_seconds", "Age of the oldest live hold of the database; 0 when there is none."
        )
        self.shadow_refusals = cache(
            metrics.counter(
                "metering_shadow_refusals", "Events that a shadow policy would have refused.", ["code"]
            ).labels
        )
        self.webhooks_delivered = metrics.counter(
            "metering_webhooks_delivered", "Webhooks that a receiver took.", ["receiver"]
        )
        self.webhooks_failed = metrics.counter(
            "metering_webhooks_failed", "Attempts that failed, by kind.", ["receiver", "kind"]
        )
        self.webhooks_dead = metrics.gauge("metering_webhooks_dead", "Webhooks that were given up.")
        self.oldest_webhook = metrics.gauge(
            "metering_webhooks_oldest_waiting_seconds", "How long the oldest webhook has been waiting."
        )
        self.unchecked_rates = metrics.counter(
            "metering_rate_open", "Requests that passed without a rate check because Redis did not answer."
        )
        self.rates_failing_open = metrics.gauge(
            "metering_rates_failing_open_since_seconds",
            "Since when requests pass without a rate check, in seconds since 1970; 0 while rates are checked.",
        )

    def count_decisions(self) -> dict[tuple[str, str], float]:
        """Return how many decisions this process has made, by decision and code."""
        return {
            (sample.labels["decision"], sample.labels["code"]): sample.value
            for metric in self._decisions.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
