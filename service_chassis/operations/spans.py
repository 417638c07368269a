"""OpenTelemetry spans. Only `tracing` imports this, and only where a collector is configured."""

import threading
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from service_chassis.version import VERSION

MAX_LINKS = 500
"""Of a span: as many as requests share a call. The library's own bound is 128."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""How long the last spans of a process may take."""


class Span:
    """A request that is served, or a call that is made. `traceparent` is what comes of it goes on under."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        made = span.get_span_context()
        self.traceparent = f"00-{made.trace_id:032x}-{made.span_id:016x}-{int(made.trace_flags):02x}"

    def end(self, status: int | None, fields: Mapping[str, object]) -> None:
        """End it with its HTTP status, None where there was no response, and the texts of its line in the log."""
        for name, value in fields.items():
            if isinstance(value, str) and name != "trace_id":
                self._span.set_attribute(name, value)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if status is None or status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Spans:
    """Makes a process's spans, and sends them from a thread of its own.

    Nothing is kept as "the current span": what a span is within, and linked to, is said by whoever begins it, as a
    `traceparent` (W3C Trace Context), since calls are shared by requests and outlive them.
    """

    def __init__(self, service: str, url: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: service, SERVICE_VERSION: VERSION}),
            span_limits=SpanLimits(max_links=MAX_LINKS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer("metered_plans", VERSION)

    def begin_request(self, method: str, route: str, traceparent: str | None) -> Span:
        """Begin the span of a request that is served, within its caller's trace where there is one."""
        attributes = {"http.request.method": method, "http.route": route}
        return Span(self._tracer.start_span(f"{method} {route}", _within(traceparent), SpanKind.SERVER, attributes))

    def begin_call(self, name: str, requests: Sequence[str], *, is_part: bool) -> Span:
        """Begin the span of a call to another service, linked to the `requests` that it is made for.

        One that is a part of its requests is within the first of them that is recorded; another, which they do not
        wait for, has a trace of its own.
        """
        parent = next(filter(_is_recorded, requests), None) if is_part else None
        links = [Link(_read(each)) for each in requests]
        return Span(self._tracer.start_span(name, _within(parent), SpanKind.CLIENT, links=links))

    def close(self) -> None:
        """Send what is left, if that is soon done. Beside us: the library waits long for a collector that is away."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_SECONDS)


def _is_recorded(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & TraceFlags.SAMPLED)


def _read(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _within(traceparent: str | None) -> Context:
    """Return where a span begins. Always said: otherwise it would be within whatever is current."""
    if traceparent is None:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(_read(traceparent)), Context())
