"""Write rows as spreadsheets and programs read them: CSV (RFC 4180), or JSON objects, one a line."""

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

Row = Mapping[str, Any]
Batches = AsyncIterator[Sequence[Row]]

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class RowFormat(StrEnum):
    """How rows are written."""

    CSV = "csv"
    NDJSON = "ndjson"


class RowWriter:
    """Writes rows with these `columns`, of which `a.b` is the part `b` of the cell `a`; NDJSON has whole rows."""

    def __init__(self, form: RowFormat, columns: Sequence[str]) -> None:
        self._form = form
        self._columns = [column.split(".", 1) for column in columns]
        self.head = _write_csv([columns]) if form is RowFormat.CSV else b""
        """What comes before the first row."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """Return `rows` as they follow each other."""
        if self._form is RowFormat.CSV:
            return _write_csv([[_as_cell(_find(row, path)) for path in self._columns] for row in rows])
        option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
        return b"".join(orjson.dumps(row, default=str, option=option) for row in rows)


def _find(row: Row, path: Sequence[str]) -> Any:
    value: Any = row
    for name in path:
        value = (value or {}).get(name)
    return value


def _as_cell(value: Any) -> Any:
    """Return what a cell is to show. A text that a spreadsheet would take for a formula gets a ' in front."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(_STARTS_A_FORMULA):
        return f"'{value}"
    return value


def _write_csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode()
