"""What is read out of wrk's output."""

import pytest

from bench.errors import BenchError
from bench.wrk import read_result

OUTPUT = """Running 1s test @ http://127.0.0.1:1
  1 threads and 64 connections
RESULT {"requests": 3000, "microseconds": 1500000, "status_errors": 2, "connect_errors": 1, "read_errors": 3, \
"write_errors": 4, "timeouts": 5, "p50_microseconds": 16580, "p99_microseconds": 90720}
"""


def test_a_result_is_read_in_seconds_and_answers_a_second() -> None:
    load = read_result(OUTPUT)
    assert load.rate == 2000
    assert (load.p50, load.p99) == (0.01658, 0.09072)


def test_refusals_and_broken_connections_are_told_apart() -> None:
    load = read_result(OUTPUT)
    assert (load.refused, load.broken) == (2, 13)


def test_output_without_a_result_is_an_error_and_not_a_rate_of_zero() -> None:
    with pytest.raises(BenchError, match="connection refused"):
        read_result("unable to connect: connection refused")


def test_a_run_without_an_answer_is_an_error_and_has_no_latency() -> None:
    with pytest.raises(BenchError, match="not one answer"):
        read_result(OUTPUT.replace('"requests": 3000', '"requests": 0'))
