"""Cursors: opaque, ours only, and good for one list only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_chassis.errors import InvalidRequest
from service_chassis.http.cursor import CursorSigner

SIGNER = CursorSigner("secret")
SCOPE = ["plays", "acme", None]
POSITION = ["2030-01-01T00:00:00Z", 7]


def test_a_cursor_gives_back_its_position() -> None:
    assert SIGNER.open(SIGNER.seal(POSITION, SCOPE), SCOPE) == POSITION
    assert CursorSigner("secret").open(SIGNER.seal([], SCOPE), SCOPE) == []


@pytest.mark.parametrize("scope", [["plays", "other", None], ["plays", "acme", "None"], ["plays", "acme"], []])
def test_a_cursor_of_another_list_is_refused(scope: list[object]) -> None:
    with pytest.raises(InvalidRequest):
        SIGNER.open(SIGNER.seal(POSITION, SCOPE), scope)


def test_a_cursor_of_another_secret_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        CursorSigner("another").open(SIGNER.seal(POSITION, SCOPE), SCOPE)


def test_an_altered_cursor_is_refused_wherever_it_was_altered() -> None:
    cursor = SIGNER.seal(POSITION, SCOPE)
    for index in range(len(cursor) - 1):  # the last character has bits that stand for nothing
        altered = cursor[:index] + ("A" if cursor[index] != "A" else "B") + cursor[index + 1 :]
        with pytest.raises(InvalidRequest):
            SIGNER.open(altered, SCOPE)


@given(st.text())
def test_any_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        SIGNER.open(text, SCOPE)
    assert [detail.field for detail in refused.value.details] == ["cursor"]
