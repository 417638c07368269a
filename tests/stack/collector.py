"""A collector of traces: takes OTLP over HTTP, as a real one does, and keeps the spans."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came: ids in hexadecimal, links as pairs of trace id and span id."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    links: list[tuple[str, str]]
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Where it listens, and what it got so far."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, raw: bytes) -> None:
        """Keep the spans of one export."""
        with self._arrived:
            for of_service in ExportTraceServiceRequest.FromString(raw).resource_spans:
                resource = {each.key: each.value.string_value for each in of_service.resource.attributes}
                for scope in of_service.scope_spans:
                    self.spans += [_read(resource["service.name"], span) for span in scope.spans]
            self._arrived.notify_all()

    def wait_for(self, service: str, name: str, count: int = 1) -> list[ReceivedSpan]:
        """Return the spans of this name once there are so many; fail when that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._arrived:
            while len(found := [each for each in self.spans if (each.service, each.name) == (service, name)]) < count:
                assert self._arrived.wait(deadline - time.monotonic()), self.spans
            return found


def _read(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    )


@contextlib.contextmanager
def run_collector() -> Iterator[Collector]:
    """Run one on a free port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(raw)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
