"""Traces, sent to a collector where one is configured; elsewhere OpenTelemetry is not even imported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from marshmallow import ValidationError

from service_chassis.process_settings import require_http_url
from service_chassis.schema.fields import one_of
from service_chassis.settings import read_settings, variable

if TYPE_CHECKING:
    from service_chassis.operations.spans import Spans

spans: "Spans | None" = None
"""Makes spans; None where no collector is configured, which is all that anybody looks at then."""


def _allow_http_url(text: str) -> None:
    if text:
        require_http_url(text)


def _require_whole_path(text: str) -> None:
    """Raise ValidationError where there is no path: of the two, this one is called as it is."""
    _allow_http_url(text)
    if text and not text.partition("://")[2].partition("/")[2]:
        raise ValidationError("Must be the whole URL, as in http://host:4318/v1/traces.")


@dataclass(frozen=True, kw_only=True)
class TracingSettings:
    """Of OpenTelemetry's own variables those that decide whether traces are sent, and where.

    What else it has (sampling, batches, headers, certificates) its library reads itself.
    """

    prefix: ClassVar[str] = "OTEL_"

    endpoint: str = variable(
        "EXPORTER_OTLP_ENDPOINT",
        "Root of a collector that takes OTLP over HTTP, on port 4318 as a rule. Empty: no traces.",
        default="",
        validate=_allow_http_url,
    )
    traces_endpoint: str = variable(
        "EXPORTER_OTLP_TRACES_ENDPOINT",
        "The same as the whole URL, for traces alone.",
        default="",
        validate=_require_whole_path,
    )
    protocol: str = variable(
        "EXPORTER_OTLP_PROTOCOL", "Must be http/protobuf.", default="http/protobuf", validate=one_of("http/protobuf")
    )
    service_name: str = variable("SERVICE_NAME", "The service's name in traces. Empty: its package's.", default="")
    is_disabled: bool = variable("SDK_DISABLED", "true: no traces, whatever else is set.", default=False)

    @property
    def url(self) -> str | None:
        """Where spans are sent; None where they are not wanted."""
        if self.is_disabled or not (self.endpoint or self.traces_endpoint):
            return None
        return self.traces_endpoint or self.endpoint.rstrip("/") + "/v1/traces"


def start_tracing(service: str) -> Callable[[], None]:
    """Make spans from now on, as `service`, where a collector is configured; return what sends the last of them.

    Raises InvalidSettings.
    """
    global spans
    settings = read_settings(TracingSettings)
    if settings.url is None:
        return lambda: None
    from service_chassis.operations.spans import Spans

    made = spans = Spans(settings.service_name or service, settings.url)

    def stop() -> None:
        global spans
        spans = None
        made.close()

    return stop
