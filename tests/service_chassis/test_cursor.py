"""Cursors: opaque, one spelling each, and strictly parsed. Pages: whether one follows is known, not guessed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_chassis.errors import InvalidRequest
from service_chassis.http.cursor import cut_page, decode_cursor, encode_cursor, read_pages
from service_chassis.http.query import read_moment

PLAY = UUID("0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77")


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_gives_back_its_position(text: str, number: int) -> None:
    assert decode_cursor(encode_cursor(text, number, PLAY), str, int, UUID) == [text, number, PLAY]


@pytest.mark.parametrize(
    "cursor",
    [
        encode_cursor("a"),
        encode_cursor("a", 1, 2),
        encode_cursor(1, "a"),
        encode_cursor("a", "one"),
        encode_cursor("a", None),
        encode_cursor("a", 1) + "=",
        encode_cursor("a", 1)[:-1],
        "WyJhIiwgMV0",  # the same position with a space in it
        encode_cursor("a" * 4000, 1),
    ],
)
def test_a_cursor_that_was_not_made_here_is_refused_by_name(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_cursor(cursor, str, int)
    assert [detail.field for detail in refused.value.details] == ["cursor"]


@given(st.text())
def test_any_other_text_is_refused_or_is_its_own_spelling(text: str) -> None:
    try:
        position = decode_cursor(text, str)
    except InvalidRequest:
        return
    assert encode_cursor(*position) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_read_back_in_utc(moment: datetime) -> None:
    assert decode_cursor(encode_cursor(moment), read_moment) == [moment]


@pytest.mark.parametrize("text", ["2026-01-02", "2026-01-02T03:04:05", "0001-01-01T00:00:00+14:00", "now", ""])
def test_a_moment_without_an_offset_or_with_another_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor(encode_cursor(text), read_moment)


@pytest.mark.parametrize(("count", "page", "last"), [(0, [], None), (3, [0, 1, 2], None), (4, [0, 1, 2], 2)])
def test_a_page_has_a_next_one_exactly_when_more_was_read(count: int, page: list[int], last: int | None) -> None:
    assert cut_page(list(range(count)), 3) == (page, last)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
async def test_all_pages_are_read_each_row_once_and_in_order(count: int) -> None:
    rows = list(range(count))

    async def read_page(after: int) -> tuple[Sequence[int], int | None]:
        return cut_page(rows[after + 1 : after + 5], 3)

    assert await read_pages(read_page, -1, lambda row: row) == rows
