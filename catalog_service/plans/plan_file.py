"""Read a file of plans, JSON or CSV, into rows that know where they stand in it."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from catalog_service.plans.schema import REQUIRED_OF_A_PLAN
from service_chassis.errors import OperatorError
from service_chassis.text_file import parse_json_text, read_text

_JSON_COLUMNS = ("associated_documents", "associated_supplemental_benefits")
_TIME_COLUMNS = ("created_at", "updated_at")
_COLUMNS = ("plan_id", *REQUIRED_OF_A_PLAN, *_TIME_COLUMNS, *_JSON_COLUMNS)
_LONGEST_CELL_CHARACTERS = 1024 * 1024
"""csv stops at 128 KiB by itself, which 500 documents with long names exceed."""
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?[,;|\t]*(\r\n|\r|\n)', re.IGNORECASE)
"""The first line of a file for Excel; others do not know it, and write it with a cell for each column."""
_CHANGED_CELL = re.compile(
    r"#(REF|VALUE|DIV/0|NUM|NULL|SPILL|CALC)!|#NAME\?|#N/A|#{3,}|Err:\d{3}|\d([.,]\d+)?E[+-]\d+"
)
"""What a spreadsheet writes in place of what somebody put into a cell: an error's name, or a long id as a number."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan as the file has it, unchecked; `place` is "line 7" or "item 3"."""

    place: str
    values: Mapping[str, Any]


def read_plan_file(path: Path) -> list[PlanRow]:
    """Read `path` by its suffix: `.json`, an array of plans as in `sync-plan`, or `.csv`, in UTF-8.

    A CSV has a line of names first, and commas, semicolons or tabs between cells, as spreadsheets write them; rows
    of blank cells are left out. Its columns for documents and benefits hold JSON arrays; an empty cell there, or for
    `plan_id` and the times, is as if it were not given. Raises OperatorError that says where the file is not as it
    should be.
    """
    readers = {".json": _read_json, ".csv": _read_csv}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise OperatorError(f"{path.name}: must end in .json or .csv")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
    return read(path.name, read_text(raw, path.name, cure='save it as "CSV UTF-8" or JSON'))


def _read_json(name: str, text: str) -> list[PlanRow]:
    document = parse_json_text(text, name)
    if not isinstance(document, list):
        raise OperatorError(f"{name}: must hold an array of plans")
    return [PlanRow(f"item {number}", values) for number, values in enumerate(document, start=1)]


def _read_csv(name: str, text: str) -> list[PlanRow]:
    told = _SEPARATOR_LINE.match(text)
    text = text[told.end() :] if told else text
    delimiter = told[1] if told else max(",;\t", key=re.split("[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0].count)
    records = _read_records(name, text, delimiter, 2 if told else 1)
    filled = ((line, cells) for line, cells in records if any(cell.strip() for cell in cells))
    line, heading = next(filled, (0, None))
    if heading is None:
        return []
    # What is seen of a name: no marks of width or order, which come with a copied text.
    columns = ["".join(filter(str.isprintable, column)).strip() for column in heading]
    _check_columns(columns, f"{name}: line {line}")
    return [PlanRow(f"line {line}", _read_cells(columns, cells, f"{name}: line {line}")) for line, cells in filled]


def _read_records(name: str, text: str, delimiter: str, line: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield each record of a CSV with the line that it begins in; `line` is the first one's."""
    csv.field_size_limit(_LONGEST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = line
    try:
        for cells in reader:
            yield begin, cells
            begin = line + reader.line_num
    except csv.Error:
        # Where it begins: a quote that is not closed swallows all lines up to the next one, or to the end.
        raise OperatorError(
            f"{name}: line {begin}: has a quote that is not closed, or text after a closed one (a quote within a "
            f'quoted cell is written ""), or a cell of more than {_LONGEST_CELL_CHARACTERS:,} characters'
        ) from None


def _check_columns(columns: Sequence[str], where: str) -> None:
    if len(columns) == 1:
        raise OperatorError(f"{where}: has no commas, semicolons or tabs between the names of columns")
    missing = [column for column in REQUIRED_OF_A_PLAN if column not in columns]
    unknown = [column for column in columns if column and column not in _COLUMNS]
    for column in unknown:
        alike = get_close_matches(column.lower().replace(" ", "_"), missing or _COLUMNS, 1)
        hint = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(_COLUMNS)}"
        raise OperatorError(f"{where}: has the unknown column {column}; {hint}")
    if missing:
        raise OperatorError(f"{where}: has no column {', '.join(missing)}")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise OperatorError(f"{where}: names column {', '.join(twice)} twice")


def _read_cells(columns: Sequence[str], cells: Sequence[str], where: str) -> dict[str, Any]:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise OperatorError(f"{where}: has more cells than the file has columns")
    if any(cell.strip() for column, cell in zip(columns, cells, strict=False) if not column):
        raise OperatorError(f"{where}: has a cell in a column without a name")
    values: dict[str, Any] = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
    for column, cell in values.items():
        if _CHANGED_CELL.fullmatch(cell):
            raise OperatorError(
                f"{where}: {column}: is {cell}, which a spreadsheet writes for something else; make its column text"
            )
    for column in ("plan_id", *_TIME_COLUMNS, *_JSON_COLUMNS):
        if not values.get(column, " ").strip():
            values.pop(column, None)
    for column in _JSON_COLUMNS:
        if column in values:
            values[column] = parse_json_text(values[column], f"{where}: {column}")
    return values
