"""What is counted about billing, in the caller's own registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service_chassis.operations.metrics import BATCH_SIZES


class BillingMetrics:
    """The metrics of billing, once per registry, their names behind the caller's `prefix`: `shop_settlements_total`.

    Without a registry they are kept and shown to nobody.
    """

    def __init__(self, prefix: str = "billing", registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{prefix}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"{prefix}_{name}", text, labels, registry=registry, buckets=BATCH_SIZES)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{prefix}_{name}", text, registry=registry)

        self.batch_sizes = histogram("batch_items", "Items that shared one statement or one call.", "work")
        self.metering_failures = counter("metering_failures", "Calls to metering without a usable answer.", "call")
        self.metering_accepts = gauge(
            "metering_accepts_key",
            "Whether metering answered 200 to our service key when it was last asked. Must be 1.",
        )
        self.settlements = counter("settlements", "Events sent to be charged, by what came of it.", "outcome")
        self.holds_resolved = counter("holds_resolved", "Holds left behind, by what the sweeper found.", "outcome")
        # What is alerted on from its first event on: a counter that begins with it shows no increase.
        for series, outcomes in (
            (self.settlements, ("settled", "postponed", "parked")),
            (self.holds_resolved, ("not ours", "settled", "released", "error", "contradicted")),
        ):
            for outcome in outcomes:
                series.labels(outcome)
        self.holds_left_behind = gauge(
            "holds_left_behind", "Old holds that the sweeper found when it last looked. Does not stay above 0."
        )
        self.background_rounds = counter(
            "background_rounds", "Rounds of a background task, by how they ended.", "task", "outcome"
        )
        self.unsettled = gauge(
            "billable_events_unsettled", "Facts that metering has not acknowledged yet, without the parked."
        )
        self.oldest_unsettled = gauge(
            "billable_events_oldest_unsettled_seconds", "Age of the oldest of them; 0 when there is none."
        )
        self.parked = gauge("billable_events_parked", "Facts that metering refused to charge. Must be 0.")
