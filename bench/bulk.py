"""Rows by the million, as the services themselves would have left them: their audits find nothing in them.

Fact number n has the same ids in both databases, so that plays and charges of the same numbers belong together.
"""

import os
from collections.abc import Mapping, Sequence

import psycopg

from bench.cores import LOAD_CORE
from bench.product import CREDITS, Product

_HOLD = "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
_PLAY = "('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))"
_EVENT = f"'plan_play.created:' || {_PLAY}"
_CLIENT = "'client-' || (n %% %(clients)s::bigint + 1)"
_MOMENT = "%(begin)s::timestamptz + n * interval '1 millisecond'"
_DAY = "(now() AT TIME ZONE 'UTC')::date"

# Every fact was decided on the present day, at a moment in the past: no account is ahead of its database.
_ACCOUNTS = """
    INSERT INTO account (client_id, granted, last_at)
    SELECT 'client-' || n, %(credits)s, now() FROM generate_series(1, %(clients)s::bigint) AS n;
"""
_GRANTS = """
    WITH given AS (
        INSERT INTO credit_grant (client_id, kind, grant_id, credits, effective_at, priority, actor, created_at,
                                  state, remaining)
        SELECT 'client-' || n, 'grant', 'bulk', %(credits)s, now(), 50, 'admin', now(), 'live', %(credits)s
        FROM generate_series(1, %(clients)s::bigint) AS n
    )
    INSERT INTO ledger_entry (client_id, kind, credits, reference, actor, at)
    SELECT 'client-' || n, 'grant', %(credits)s, 'bulk', 'admin', now()
    FROM generate_series(1, %(clients)s::bigint) AS n
"""
_HOLDS = f"""
    INSERT INTO hold (client_id, hold_id, event_id, service, event_type, units, credits, counted_on, held_at,
                      resolve_by, policy_id, policy_version, rates_used, available_before)
    SELECT {_CLIENT}, {_HOLD}, {_EVENT}, %(service)s, 'plan_play.created', 1, 1, {_DAY}, {_MOMENT},
           {_MOMENT} + interval '35 s', 'bench', 1, '{{0}}', %(credits)s
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_LINES = f"""
    INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, units, hold_id, service, counted_on,
                              held_at, policy_id, policy_version, rates_used, available_before)
    SELECT {_CLIENT}, 'spend', -1, {_MOMENT}, {_EVENT}, 'plan_play.created', 1, {_HOLD}, %(service)s, {_DAY},
           {_MOMENT}, 'bench', 1, '{{0}}', %(credits)s
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_COUNTED = f"""(
        SELECT {_CLIENT} AS name, count(*) AS events
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n GROUP BY 1) AS counted"""
_COUNT_USED = f"""
    UPDATE account SET spent = spent + events
    FROM {_COUNTED}
    WHERE client_id = name
"""
_ADD_USAGE = f"""
    INSERT INTO usage AS u (client_id, day, event_type, charged, units, credits, overage, last_at)
    SELECT name, {_DAY}, 'plan_play.created', events, events, events, 0, now()
    FROM {_COUNTED}
    ON CONFLICT (client_id, day, event_type) DO UPDATE
    SET charged = u.charged + excluded.charged, units = u.units + excluded.units,
        credits = u.credits + excluded.credits
"""
_COUNT_HELD = f"""
    UPDATE account SET held = held + events
    FROM {_COUNTED}
    WHERE client_id = name
"""
_PLAYS = f"""
    INSERT INTO plan_play (id, client_id, plan_id, status, planned_lessons, current_lesson_index, completed_lessons,
                           completed_lesson_plays, total_lessons_completed, email, display_name, created_at,
                           updated_at)
    SELECT {_PLAY}::uuid, {_CLIENT}, 'plan-' || n %% 100, 'active', ARRAY['one', 'two'], 0, '{{}}', '{{}}', 0,
           'reader-' || n || '@example.org', 'Reader ' || n, {_MOMENT}, {_MOMENT}
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_EVENTS = f"""
    INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
    SELECT {_HOLD}, {_EVENT}, 'happened', {_CLIENT}, 'plan_play.created', 1, {_MOMENT}, {_MOMENT}
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_BEGIN = "2026-01-01T00:00:00Z"
_SERVICE = "activity"
"""The name of the activity service's key."""


def make_accounts(product: Product, clients: int) -> None:
    """Give the clients `name_clients(clients)` the bench's policy and credits, without a request for each."""
    values = {"clients": clients, "credits": CREDITS}
    _run(product.environments["metering"].dsn, [_ACCOUNTS, _GRANTS], values)


def make_charges(product: Product, count: int, *, clients: int, first: int = 1) -> None:
    """Charge facts from number `first` on, evenly to clients that have accounts."""
    dsn = product.environments["metering"].dsn
    _run(dsn, [_LINES, _COUNT_USED, _ADD_USAGE], _values(count, clients, first))
    _vacuum(dsn)


def make_holds(product: Product, count: int, *, clients: int, first: int = 1) -> None:
    """Hold the credits of facts from number `first` on."""
    dsn = product.environments["metering"].dsn
    _run(dsn, [_HOLDS, _COUNT_HELD], _values(count, clients, first))
    _vacuum(dsn)


_MORE_GRANTS = """
    WITH given AS (
        INSERT INTO credit_grant (client_id, kind, grant_id, credits, effective_at, expires_at, priority, actor,
                                  created_at, state, remaining)
        SELECT 'client-' || client, 'grant', 'more-' || n, %(credits)s, now(), now() + n * interval '1 day',
               n %% 10, 'admin', now(), 'live', %(credits)s
        FROM generate_series(1, %(clients)s::bigint) AS client, generate_series(1, %(count)s::bigint) AS n
        RETURNING client_id, grant_id, credits
    ), line AS (
        INSERT INTO ledger_entry (client_id, kind, credits, reference, actor, at)
        SELECT client_id, 'grant', credits, grant_id, 'admin', now() FROM given
    )
    UPDATE account SET granted = granted + more.credits, next_moment = now() + interval '1 day'
    FROM (SELECT client_id, sum(credits) AS credits FROM given GROUP BY client_id) AS more
    WHERE account.client_id = more.client_id
"""


def make_grants(product: Product, count: int, *, clients: int, credits: int) -> None:
    """Give each client so many more grants, which expire one a day, of different priorities."""
    dsn = product.environments["metering"].dsn
    _run(dsn, [_MORE_GRANTS], {"count": count, "clients": clients, "credits": credits})
    _vacuum(dsn)


def make_plays(product: Product, count: int, *, clients: int, first: int = 1, settled: bool = True) -> None:
    """Create plays, facts from number `first` on, in the outbox unless they are `settled`; all become visible at
    once.
    """
    dsn = product.environments["activity"].dsn
    _run(dsn, [_PLAYS] if settled else [_PLAYS, _EVENTS], _values(count, clients, first))
    if settled:
        _vacuum(dsn)


def _values(count: int, clients: int, first: int) -> dict[str, object]:
    """Return what the statements are told, `service` being the name of activity's key."""
    return {
        "first": first,
        "last": first + count - 1,
        "clients": clients,
        "credits": CREDITS,
        "begin": _BEGIN,
        "service": _SERVICE,
    }


def _run(dsn: str, statements: Sequence[str], values: Mapping[str, object]) -> None:
    """Run all in one transaction, the database's process on the load's core, which is free: nothing is measured."""
    with psycopg.connect(dsn) as connection:
        os.sched_setaffinity(connection.info.backend_pid, {LOAD_CORE})
        connection.execute("SET synchronous_commit = off")
        for statement in statements:
            connection.execute(statement.encode(), values)


def _vacuum(dsn: str) -> None:
    """Leave nothing that autovacuum would begin with in the midst of a measurement."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
