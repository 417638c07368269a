"""What this service counts, besides its requests."""

from service_chassis.operations.metrics import Metrics


class CatalogMetrics:
    """The service's own metrics, made once per application."""

    def __init__(self, metrics: Metrics) -> None:
        lists = metrics.counter("catalog_plan_lists", "Responses of get-plans, kept or encoded anew.", ["source"])
        # Kept: `labels` takes a lock and builds strings, for each request.
        self.kept_lists, self.encoded_lists = lists.labels("kept"), lists.labels("encoded")
        self.client_states_batch = metrics.size_histogram(
            "catalog_client_states_batch", "Requests that shared one look at clients."
        )
        self.encoded_plans_bytes = metrics.gauge(
            "catalog_encoded_plans_bytes", "Memory of the encoded responses of get-plans."
        )
