"""What this service counts, besides its requests."""

from service_chassis.operations.metrics import Metrics


class ActivityMetrics:
    """The service's own metrics, made once per application."""

    def __init__(self, metrics: Metrics) -> None:
        self.batch_sizes = metrics.size_histogram(
            "activity_batch_items", "Items that shared one statement or one call.", ["work"]
        )
        self.metering_failures = metrics.counter(
            "activity_metering_failures", "Calls to metering without a usable answer.", ["call"]
        )
        self.metering_accepts = metrics.gauge(
            "activity_metering_accepts_key",
            "Whether metering answered 200 to our service key when it was last asked. Must be 1.",
        )
        self.overload_refusals = metrics.counter(
            "activity_overload_refusals",
            "Requests refused because too many were under way, of all or of their client.",
        )
        self.settlements = metrics.counter(
            "activity_settlements", "Events sent to be charged, by what came of it.", ["outcome"]
        )
        self.holds_resolved = metrics.counter(
            "activity_holds_resolved", "Holds left behind, by what the sweeper found.", ["outcome"]
        )
        self.holds_left_behind = metrics.gauge(
            "activity_holds_left_behind",
            "Old holds that the sweeper found when it last looked. Does not stay above 0.",
        )
        self.clock_apart = metrics.gauge(
            "clock_apart_seconds", "How far the process's clock is apart from its database's."
        )
        self.background_rounds = metrics.counter(
            "activity_background_rounds", "Rounds of a background task, by how they ended.", ["task", "outcome"]
        )
        self.unsettled = metrics.gauge(
            "activity_billable_events_unsettled", "Facts that metering has not acknowledged yet, without the parked."
        )
        self.oldest_unsettled = metrics.gauge(
            "activity_billable_events_oldest_unsettled_seconds", "Age of the oldest of them; 0 when there is none."
        )
        self.parked = metrics.gauge(
            "activity_billable_events_parked", "Facts that metering refused to charge. Must be 0."
        )
