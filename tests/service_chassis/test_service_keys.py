"""Entries of keys: what is read of them, and what is said of one that cannot be meant."""

import hashlib

import pytest

from service_chassis.auth.service_keys import ServiceKey, read_service_keys
from service_chassis.settings import InvalidSettings

HASH = hashlib.sha256(b"a key").hexdigest()
SCOPES = ("events", "admin")


def test_two_keys_of_a_name_live_at_once() -> None:
    other = hashlib.sha256(b"the next key").hexdigest()
    keys = read_service_keys("KEYS", [f"admin:ops:{HASH}", f" admin:ops:{other.upper()} "], SCOPES)
    assert keys == {bytes.fromhex(each): ServiceKey("admin", "ops") for each in (HASH, other)}


def test_where_there_is_one_scope_entries_do_not_name_it() -> None:
    assert read_service_keys("KEYS", [f"admin:{HASH}"], ["admin"]) == {
        bytes.fromhex(HASH): ServiceKey("admin", "admin")
    }


@pytest.mark.parametrize(
    "entry", ["", HASH, f"ops:{HASH}", f"root:ops:{HASH}", f"admin:o ps:{HASH}", f"admin:ops:{HASH}0"]
)
def test_an_entry_that_cannot_be_meant_is_refused_by_its_variable_and_not_repeated(entry: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_service_keys("KEYS", [entry], SCOPES)
    said = str(refused.value)
    assert said.startswith("KEYS: each entry must be scope:name:SHA256, the scope events or admin, ")
    assert HASH not in said
