"""Text and JSON of operators' files: read as editors and spreadsheets write them, or refused by name and place."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

import orjson

from service_chassis.errors import InvalidRequest, OperatorError
from service_chassis.http.json_body import parse_json


def read_text(raw: bytes, name: str, *, cure: str = "save it as UTF-8") -> str:
    """Return the text of a file, without a byte order mark. Raises OperatorError for what is not UTF-8."""
    try:
        text = raw.decode("utf-8-sig")
        kind = "UTF-16" if "\x00" in text else ""  # letters of ours are their bytes there, with a zero each
    except UnicodeDecodeError:
        is_marked = raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        kind = "UTF-16" if is_marked or b"\x00" in raw else "something else"
    if kind:
        raise OperatorError(f"{name}: must be UTF-8, and is {kind}: {cure}")
    return text


def parse_json_text(text: str, where: str) -> Any:
    """Parse the JSON of a file, or of a cell in one, strictly.

    Raises OperatorError that begins with `where`, then line and column, or of a single line the character.
    """
    raw = text.encode()
    try:
        return parse_json(raw)
    except InvalidRequest as error:
        raise OperatorError(f"{where}: {_find_place(raw)}{error.details[0].message}") from None


def _find_place(raw: bytes) -> str:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        is_one_line = b"\n" not in raw.strip()
        return f"character {error.colno}: " if is_one_line else f"line {error.lineno}, column {error.colno}: "
    return ""
