"""Page cursors: an opaque text for where a page ended; cutting pages, and reading all of them.

A cursor is not signed: every list is bound to its caller by the caller's token or key, so a position says nothing
that its maker could not have read. It is parsed strictly all the same, and has one spelling.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson

from service_chassis.errors import InvalidRequest

Row = TypeVar("Row")
Position = TypeVar("Position")

_MAX_CHARACTERS = 4096
_INT64 = range(-(2**63), 2**63)
"""What a column of the database can hold."""


def encode_cursor(*position: object) -> str:
    """Return the cursor for a position: texts and integers, or what orjson writes as text."""
    return base64.urlsafe_b64encode(orjson.dumps(position, default=str)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *parsers: Callable[[Any], Any]) -> list[Any]:
    """Return the position in `cursor`, each part by its parser. Raises InvalidRequest naming `cursor`.

    `str` and `int` take just that; any other parser takes a text and raises ValueError for one that it cannot read.
    """
    try:
        if len(cursor) > _MAX_CHARACTERS:
            raise ValueError
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        position = [_parse(parser, part) for parser, part in zip(parsers, parts, strict=True)]
        if encode_cursor(*parts) != cursor:
            raise ValueError
    except (ValueError, TypeError):
        raise InvalidRequest.field("cursor", "Must be a cursor that this same list gave.") from None
    return position


def _parse(parser: Callable[[Any], Any], part: object) -> Any:
    if type(part) is not (int if parser is int else str):
        raise ValueError
    if isinstance(part, int) and part not in _INT64:
        raise ValueError
    return parser(part)


def cut_page(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Row | None]:
    """Return a page of rows that were read with `limit + 1`, and the page's last row if more follow, else None."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], rows[limit - 1]


async def read_pages(
    read_page: Callable[[Position], Awaitable[tuple[Sequence[Row], Row | None]]],
    first: Position,
    find_position: Callable[[Row], Position],
) -> list[Row]:
    """Return all rows of a list that is read page by page, each as `cut_page` returns it, from `first` on."""
    rows: list[Row] = []
    position = first
    while True:
        page, last = await read_page(position)
        rows += page
        if last is None:
            return rows
        position = find_position(last)
