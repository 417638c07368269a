"""Traces are made where a collector is configured, cost nothing elsewhere, and hold no process up."""

import subprocess
import sys
import time

import pytest

from local_stack.ports import choose_free_port
from service_chassis.operations import tracing
from service_chassis.operations.spans import CLOSE_TIMEOUT_SECONDS, Spans
from service_chassis.operations.tracing import TracingSettings, start_tracing
from service_chassis.settings import InvalidSettings, read_settings

COLLECTOR = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("service", "parts"),
    [
        ("catalog_service", ["opentelemetry"]),
        ("activity_service", ["opentelemetry"]),
        # redis-py imports the part about metrics, wherever it is installed.
        ("metering_service", ["opentelemetry.sdk.trace", "opentelemetry.exporter"]),
    ],
)
def test_without_a_collector_what_makes_and_sends_spans_is_not_even_imported(service: str, parts: list[str]) -> None:
    script = (
        f"import sys, {service}.app, service_chassis.cli.serve as serve\n"
        "serve.start_tracing('test')()\n"
        f"print([part for part in {parts} if part in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"ENDPOINT": ""}, None),
        ({"ENDPOINT": COLLECTOR}, f"{COLLECTOR}/v1/traces"),
        ({"ENDPOINT": f"{COLLECTOR}/otlp/"}, f"{COLLECTOR}/otlp/v1/traces"),
        ({"ENDPOINT": COLLECTOR, "TRACES_ENDPOINT": "https://elsewhere/v1/spans"}, "https://elsewhere/v1/spans"),
    ],
)
def test_spans_go_where_the_standard_variables_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    assert read_settings(TracingSettings).url == url


def test_one_variable_turns_traces_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    start_tracing("test")
    assert tracing.spans is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector"),
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318"),
        ("EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("SDK_DISABLED", "perhaps"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"OTEL_{name}", value)
    with pytest.raises(InvalidSettings) as refused:
        start_tracing("test")
    assert str(refused.value).startswith(f"OTEL_{name}: Must be ")
    assert "secret" not in str(refused.value)


def test_a_process_ends_soon_although_its_collector_is_away() -> None:
    spans = Spans("test", f"http://127.0.0.1:{choose_free_port()}/v1/traces")
    spans.begin_request("GET", "/things", None).end(200, {})
    began = time.monotonic()
    spans.close()
    assert time.monotonic() - began < CLOSE_TIMEOUT_SECONDS + 1
