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


@pytest.mark.parametrize("other", [f"events:copied:{HASH}", f"admin:ops:{HASH}", f"events:ops:{HASH.upper()}"])
def test_one_key_under_two_names_or_scopes_is_refused(other: str) -> None:
    """Whose holds are they, and what does it open? The last entry would have decided, without a word."""
    first = f"events:activity:{HASH}"
    with pytest.raises(InvalidSettings, match="is also given another scope or name"):
        read_service_keys("KEYS", [first, other], SCOPES)
    assert len(read_service_keys("KEYS", [first, first], SCOPES)) == 1


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
