"""The service on tables whose keys lead with the client, as docs/scaling.md has them made for Citus."""

import psycopg
import pytest

from tests.activity_service.test_create import test_twins_in_one_statement_are_one_play_and_the_other_is_told_so
from tests.activity_service.test_idempotency import (
    test_50_parallel_creates_with_one_key_are_one_play_one_bill_and_one_body,
    test_one_key_at_two_processes_at_once_is_one_play,
)
from tests.activity_service.test_relay import test_two_relays_at_once_take_different_events
from tests.activity_service.test_row_security import (
    isolated,
    test_another_clients_play_is_beyond_every_statement_of_the_store,
)
from tests.activity_service.test_sweeper import test_requests_and_sweepers_at_full_tilt_agree_about_every_hold
from tests.conftest import FreshDatabase
from tests.service_chassis.test_client_leads import KEYS_OF_ACTIVITY

__all__ = [
    "isolated",
    "test_50_parallel_creates_with_one_key_are_one_play_one_bill_and_one_body",
    "test_another_clients_play_is_beyond_every_statement_of_the_store",
    "test_one_key_at_two_processes_at_once_is_one_play",
    "test_requests_and_sweepers_at_full_tilt_agree_about_every_hold",
    "test_twins_in_one_statement_are_one_play_and_the_other_is_told_so",
    "test_two_relays_at_once_take_different_events",
]
"""What the keys decide, asked again here."""


@pytest.fixture
def activity_dsn(fresh_database: FreshDatabase) -> str:
    """Return the URL of a database with those keys."""
    dsn = fresh_database("activity_service")
    with psycopg.connect(dsn) as connection:
        connection.execute(KEYS_OF_ACTIVITY)
    return dsn
