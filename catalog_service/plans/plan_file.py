"""Read a file of plans, JSON or CSV, into rows that know where they stand in it."""

import csv
import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service_chassis.errors import InvalidRequest, OperatorError
from service_chassis.http.json_body import parse_json

_JSON_COLUMNS = ("associated_documents", "associated_supplemental_benefits")
_NEEDED_COLUMNS = ("plan_name", "description", "collection_id", "color")
_LONGEST_CELL_CHARACTERS = 1024 * 1024
"""csv stops at 128 KiB by itself, which 500 documents with long names exceed."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan as the file has it, unchecked; `place` is "line 7" or "item 3"."""

    place: str
    values: Mapping[str, Any]


def read_plan_file(path: Path) -> list[PlanRow]:
    """Read `path` by its suffix: `.json`, an array of plans as in `sync-plan`, or `.csv`, in UTF-8.

    A CSV has a line of names first, and commas, semicolons or tabs between cells, as spreadsheets write them; rows
    of empty cells are left out. Its columns for documents and benefits hold JSON arrays; an empty cell there, or for
    `plan_id`, is as if it were not given. Raises OperatorError that says where the file is not as it should be.
    """
    readers = {".json": _read_json, ".csv": _read_csv}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise OperatorError(f"{path.name}: must end in .json or .csv")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        kind = "UTF-16" if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "something else"
        raise OperatorError(f'{path.name}: must be UTF-8, and is {kind}: save it as "CSV UTF-8" or JSON') from None
    return read(path, text)


def _read_json(path: Path, text: str) -> list[PlanRow]:
    document = _parse(text.encode(), path.name)
    if not isinstance(document, list):
        raise OperatorError(f"{path.name}: must hold an array of plans")
    return [PlanRow(f"item {number}", values) for number, values in enumerate(document, start=1)]


def _read_csv(path: Path, text: str) -> list[PlanRow]:
    csv.field_size_limit(_LONGEST_CELL_CHARACTERS)
    rows: list[PlanRow] = []
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        missing = [name for name in _NEEDED_COLUMNS if name not in names]
        if missing:
            raise OperatorError(f"{path.name}: line 1: has no column {', '.join(missing)}")
        if twice := sorted({name for name in names if name and names.count(name) > 1}):
            raise OperatorError(f"{path.name}: line 1: names column {', '.join(twice)} twice")
        reader.fieldnames = names
        for cells in reader:
            place = f"line {reader.line_num}"
            if any(cell for cell in cells.values()):
                rows.append(PlanRow(place, _read_cells(cells, f"{path.name}: {place}")))
    except csv.Error as error:
        raise OperatorError(f"{path.name}: line {reader.line_num}: is not CSV ({error})") from None
    return rows


def _read_cells(cells: dict[str | None, Any], where: str) -> dict[str, Any]:
    if any(cells.pop(None, ())):
        raise OperatorError(f"{where}: has more cells than the file has columns")
    values = {name: cell for name, cell in cells.items() if name and cell is not None}
    for name in ("plan_id", *_JSON_COLUMNS):
        if values.get(name) == "":
            del values[name]
    for name in _JSON_COLUMNS:
        if name in values:
            values[name] = _parse(values[name].encode(), f"{where}: {name}")
    return values


def _parse(raw: bytes, where: str) -> Any:
    try:
        return parse_json(raw)
    except InvalidRequest as error:
        raise OperatorError(f"{where}: {error.details[0].message}") from None
