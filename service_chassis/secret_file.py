"""One reading of a file that holds one value, such as a secret, however the file was made."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from service_chassis.errors import OperatorError


class InvalidValue(ValueError):
    """What a file or a pipe holds is no value; the text says why, and quotes nothing of it."""


def read_value_file(path: str | Path) -> str:
    """Return the text of a mounted file, as `read_value` does. Raises InvalidValue, also for no file."""
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError):
        raise InvalidValue("must be a file that can be read") from None
    return read_value(raw)


def read_value(raw: bytes) -> str:
    """Return the text that `raw` is, without a byte order mark and one final line end. Raises InvalidValue.

    Editors and shells add both, and neither was meant. An empty file was not meant either: a key of nothing opens
    nothing, and is found out late.
    """
    try:
        text = raw.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        kind = ", and is UTF-16" if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else ""
        raise InvalidValue(f"must hold text in UTF-8{kind}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise InvalidValue("must not be empty")
    return text


def require_one_line(text: str) -> str:
    """Return `text`. Raises InvalidValue where it holds what no header and no URL can."""
    if not text.isprintable():
        raise InvalidValue("must be one line without control characters")
    return text


def read_secret(raw: bytes, source: str) -> str:
    """Return the one line that `raw` is, as `read_value` does. Raises OperatorError that names its `source`."""
    try:
        return require_one_line(read_value(raw))
    except InvalidValue as error:
        raise OperatorError(f"{source}: {error}") from None


def read_secret_file(path: Path) -> str:
    """Return the one line of a secret's file. Raises OperatorError that names the file."""
    try:
        return require_one_line(read_value_file(path))
    except InvalidValue as error:
        raise OperatorError(f"{path}: {error}") from None
