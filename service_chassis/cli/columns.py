"""Print rows as plain columns: readable at any width, in pipes too, and with nothing cut that must be copied."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer

_GAP = "  "


def print_columns(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a line of headings and a line for each row, the last column as long as it is."""
    lines = [list(headings), *([_as_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo(_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_as_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_as_text, value))
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
    # Notes and errors are other people's words: a line break or an escape in them is shown, not obeyed.
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
