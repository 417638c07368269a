"""A client's data can be put on a server of its own: its tables and unique keys begin with the client.

That is what an engine that distributes tables by a column (Citus, say) asks for, or sharding by hand.
"""

from collections.abc import Callable, Mapping, Sequence

import psycopg
import pytest

from tests.pages import ROOT, list_blocks

_TRAIL = "what operators did, in the order in which they did it"

WITHOUT_A_CLIENT = {
    "metering_service": {
        "policy": "a policy may be many clients'",
        "policy_version": "a policy may be many clients'",
        "webhook": "what is sent of notices, by receiver; beside them",
        "console_session": "who is logged in: operators",
        "admin_audit": _TRAIL,
    },
    "activity_service": {"admin_audit": _TRAIL},
}
"""Tables that are the same for all clients, or nobody's: copied to every server, or kept on one."""
LED_BY_ANOTHER = {
    "metering_service": {
        "ledger_entry_event_once": "charges of all clients are listed by event, to be merged with a caller's own",
        "notice_pkey": "a receiver of webhooks names a notice by its id, and it is sent in the order of all clients'",
        "shadow_refusal_pkey": "a shadow policy's report is of all its clients, by day",
    },
    "activity_service": {
        "plan_play_pkey": "asked of an id alone, whose a play is (403, 404): docs/scaling.md has the price",
        "billable_event_pkey": "the relay walks all clients' holds in the order of their ids; written with the play",
    },
}
CANNOT_BE_DISTRIBUTED = {
    "metering_service": {"notice_pkey"},
    "activity_service": {"plan_play_pkey", "billable_event_pkey"},
}
"""Those without the client anywhere in the key, which is what Citus asks for: their tables stay on one server."""
BOOKKEEPING = ("sql_function", "yoyo")
KEYS_OF_ACTIVITY = next(
    block.text
    for block in list_blocks(ROOT / "docs" / "scaling.md")
    if block.first_line == "ALTER TABLE plan_play DROP CONSTRAINT plan_play_pkey,"
)
"""What an operator changes to have activity's tables without an exception."""

_LIST_TABLES = """
    SELECT relname, EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id' AND attnotnull)
    FROM pg_class c WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
"""
_LIST_UNIQUE_KEYS = """
    SELECT t.relname, i.relname, ARRAY(
        SELECT attname FROM unnest(x.indkey[0:x.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number ORDER BY place)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    WHERE x.indisunique AND t.relnamespace = 'public'::regnamespace
"""


Keys = Sequence[tuple[str, Sequence[str]]]


def list_tables_and_keys(connection: psycopg.Connection) -> tuple[Mapping[str, bool], Keys]:
    """Return which tables have the client, and the unique keys of those that do, with their columns."""
    has_client = {
        table: has
        for table, has in connection.execute(_LIST_TABLES).fetchall()
        if not table.strip("_").startswith(BOOKKEEPING)
    }
    keys = [
        (name, columns)
        for table, name, columns in connection.execute(_LIST_UNIQUE_KEYS).fetchall()
        if has_client.get(table)
    ]
    return has_client, keys


@pytest.mark.parametrize("service", WITHOUT_A_CLIENT)
def test_tables_and_unique_keys_of_a_client_lead_with_it_but_for_those_with_a_reason(
    service: str, fresh_database: Callable[[str], str]
) -> None:
    with psycopg.connect(fresh_database(service)) as connection:
        has_client, keys = list_tables_and_keys(connection)
    assert len(keys) >= 2
    assert {table for table, has in has_client.items() if not has} == WITHOUT_A_CLIENT[service].keys()
    assert {name for name, columns in keys if columns[0] != "client_id"} == LED_BY_ANOTHER[service].keys()
    assert {name for name, columns in keys if "client_id" not in columns} == CANNOT_BE_DISTRIBUTED[service]


def test_all_of_activitys_lead_with_it_after_the_change_that_the_page_on_scaling_has(activity_dsn: str) -> None:
    with psycopg.connect(activity_dsn) as connection:
        connection.execute(KEYS_OF_ACTIVITY)
        has_client, keys = list_tables_and_keys(connection)
    assert {name: columns[0] for name, columns in keys} == {
        "plan_play_pkey": "client_id",
        "billable_event_pkey": "client_id",
    }
    assert {table for table, has in has_client.items() if not has} == {"admin_audit"}
