"""Are creates as fast after ten minutes of them as in the first, with autovacuum on, and what do tables grow to?"""

from collections.abc import Sequence

import psycopg

from bench.creating import MeteredCreates
from bench.finding import Claim, Curve, Finding, Plot, Run
from bench.question import Effort, Question
from bench.stage import Stage
from bench.tally import count_rows

MINUTES = 10
SLICE_SECONDS = 20
CLIENTS = 1000
CONNECTIONS = 64
TARGET = 0.95
BYTES_TARGET = 1200.0
COMPARED = 3
"""Slices at either end: a minute."""
HOT_TABLES = {"metering": ("account", "hold"), "activity": ("billable_event",)}
HOT_INDEXES = {"metering": ("hold_pkey", "hold_event_once", "hold_by_age"), "activity": ("billable_event_pkey",)}
"""What holds few rows at rest, however many have passed through: what grows here is bloat."""

SUM_BYTES = """SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables"""
"""All tables of a database and all of their indexes."""


def ask(stage: Stage, effort: Effort) -> Finding:
    """Create without a pause but for the last charges of each slice, PostgreSQL as it is set up by default."""
    finding, minutes = Finding(), 2 if effort.is_quick else MINUTES
    creates = MeteredCreates(stage, CLIENTS)
    measure = stage.measure(finding, creates.servers, lambda seconds: creates.load(CONNECTIONS, seconds))
    runs: list[Run] = []
    sizes: dict[str, list[float]] = {}
    for _ in range(minutes * 60 // SLICE_SECONDS):
        runs.append(measure(SLICE_SECONDS))
        for service in HOT_TABLES:
            for name, kilobytes in _read_sizes(creates.product.environments[service].dsn, service).items():
                sizes.setdefault(name, []).append(kilobytes)
    finding.sides[f"metered create, {CONNECTIONS} connections"] = runs
    ratios = [late.rate / early.rate for early, late in zip(runs[:COMPARED], runs[-COMPARED:], strict=True)]
    finding.claims.append(Claim("creates a second, the last minute to the first", ratios, TARGET))
    kept = sum(count_rows(creates.product.environments[service].dsn, SUM_BYTES) for service in HOT_TABLES)
    finding.claims.append(
        Claim("bytes on disk a charged create", [kept / creates.count_plays()], BYTES_TARGET, at_most=True)
    )
    for service in HOT_TABLES:
        finding.notes.append(_describe_vacuums(creates.product.environments[service].dsn, service))
    finding.notes += [
        f"{name}: {taken[0]:,.0f} kB after {SLICE_SECONDS} s, at most {max(taken):,.0f}, in the end {taken[-1]:,.0f}."
        for name, taken in sizes.items()
    ]
    seconds = [SLICE_SECONDS * number for number in range(1, len(runs) + 1)]
    rates = [run.rate for run in runs]
    finding.plot = Plot("seconds", "creates a second", [Curve("metered create", seconds, rates)])
    finding.faults += creates.check()
    return finding


def _read_sizes(dsn: str, service: str) -> dict[str, float]:
    names = [*HOT_TABLES[service], *HOT_INDEXES[service]]
    query = "SELECT relname, pg_relation_size(oid) / 1024.0 FROM pg_class WHERE relname = ANY (%s)"
    with psycopg.connect(dsn) as connection:
        return {name: float(kilobytes) for name, kilobytes in connection.execute(query, [names])}


def _describe_vacuums(dsn: str, service: str) -> str:
    """Say what autovacuum did, and what it has left."""
    query = """SELECT relname, n_live_tup, n_dead_tup, autovacuum_count, pg_total_relation_size(relid) / 1048576
        FROM pg_stat_user_tables WHERE n_live_tup > 0 AND relname NOT LIKE '\\_yoyo%%' ORDER BY relname"""
    with psycopg.connect(dsn) as connection:
        rows: Sequence[tuple[str, int, int, int, int]] = connection.execute(query, []).fetchall()
    tables = [
        f"{name} {live:,} rows, {dead:,} dead, vacuumed {times} times, {size:,} MB"
        for name, live, dead, times, size in rows
    ]
    return f"{service} at the end: {'; '.join(tables)}."


QUESTION = Question(
    "growth_minutes", "Ten minutes of metered creates, autovacuum on", ask, in_quick=False, in_full=False
)
"""Asked by name only: it takes eleven minutes."""
