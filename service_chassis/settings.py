"""Settings: a frozen dataclass per service, read from the environment once, at start.

Nothing else in a service reads the environment. A variable can also be given as a file, for mounted
secrets: ``NAME_FILE=/run/secrets/name`` stands for ``NAME``.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

from marshmallow import ValidationError, fields

from service_chassis.secret_file import InvalidValue, read_value_file, require_one_line

Settings = TypeVar("Settings")


class InvalidSettings(Exception):
    """The environment lacks a variable or holds one that cannot be read; the text names each."""


LOCAL_ONLY = "LOCAL_ONLY"
_OF_KUBERNETES = ("tcp://", "udp://", "sctp://")
"""How values begin that Kubernetes sets for a service of the same name, such as ACTIVITY_PORT: not meant for us."""
_BETWEEN_ENTRIES = re.compile("[,\r\n]+")
"""Of a list: one line for all or a line each, as a file has them."""
_NUMBER = re.compile(r"-?[0-9.]+(e-?[0-9]+)?|-?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
"""As numbers are written: a library reads 1_000 and the digits of other scripts, too."""
_ALIKE = 0.85
"""From which likeness on a variable that is set is taken for a misspelling of the one that is missing."""


def variable(
    name: str,
    description: str,
    *,
    unit: str = "",
    default: object = dataclasses.MISSING,
    validate: Callable[[Any], object] | None = None,
) -> Any:
    """Declare a dataclass field that is read from the environment variable `name`, after the class's `prefix`.

    Without a `default` the variable is required, and not empty. `unit` is for the documentation: "seconds",
    "bytes". `validate` is marshmallow's.
    """
    metadata = {"variable": name, "description": description, "unit": unit, "validate": validate}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read_settings(settings_class: type[Settings]) -> Settings:
    """Read every field of `settings_class` from the environment.

    A byte order mark, a final line end and blanks around it are no part of a value: secrets' files have them as often
    as not. Raises InvalidSettings with one line per variable that is missing or malformed.
    """
    types = get_type_hints(settings_class)
    values: dict[str, object] = {}
    faults: list[str] = []
    for field in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        name = name_variable(settings_class, field)
        required = field.default is dataclasses.MISSING
        try:
            text = _find_text(name)
            if text is None or (not required and text.startswith(_OF_KUBERNETES)):
                if required:
                    faults.append(f"{name} is missing{_find_misspelled(settings_class, name)}")
                else:
                    values[field.name] = field.default
                continue
            if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
                # A shell takes them off; env files of containers and secrets' files keep them.
                raise InvalidValue("stands in quotes, which would be part of it; leave them out")
            if required and not text.strip():
                raise InvalidValue("must not be empty")
            values[field.name] = _read(text, types[field.name], field.metadata["validate"])
        except ValidationError as error:
            faults.append(f"{name}: {' '.join(map(str, error.messages))}")
        except InvalidValue as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise InvalidSettings("\n".join(faults))
    return settings_class(**values)


def _find_text(name: str) -> str | None:
    """Return the text of a variable, or of the file that stands for it; None for neither. Raises InvalidValue."""
    if path := os.environ.get(f"{name}_FILE"):
        if os.environ.get(name):
            raise InvalidValue(f"is set, and so is {name}_FILE, which stands for it; keep one of them")
        try:
            return read_value_file(path)
        except InvalidValue as error:
            raise InvalidValue(f"its file {error}") from None
    text = os.environ.get(name)
    return text and text.removesuffix("\n").removesuffix("\r")


def _find_misspelled(settings_class: type[Any], name: str) -> str:
    """Return the hint at a variable that is set, unknown, and nearly called `name`."""
    known = {name_variable(settings_class, field) for field in dataclasses.fields(settings_class)}
    prefix = getattr(settings_class, "prefix", "")
    given = {each.removesuffix("_FILE"): each for each in os.environ if each.startswith(prefix)}
    alike = get_close_matches(name, given.keys() - known, 1, _ALIKE)
    return f"; is {given[alike[0]]}, which is set, meant for it?" if alike else ""


_PARSERS: dict[object, fields.Field[Any]] = {
    int: fields.Integer(error_messages={"invalid": "Must be a whole number."}),
    float: fields.Float(error_messages={"invalid": "Must be a number.", "special": "Must be a finite number."}),
    bool: fields.Boolean(error_messages={"invalid": "Must be true or false."}),
}


def _read(text: str, kind: object, validate: Callable[[Any], object] | None) -> Any:
    """Return `text` as a setting of `kind` has it. Raises InvalidValue or ValidationError, which do not quote it."""
    if kind in (int, float) and not _NUMBER.fullmatch(text.strip()):
        raise ValidationError("Must be a whole number." if kind is int else "Must be a number.")
    if kind in _PARSERS:
        value: Any = _PARSERS[kind].deserialize(text)
    elif kind is str:
        value = require_one_line(text.strip(" "))
    else:
        value = tuple(require_one_line(entry.strip()) for entry in _BETWEEN_ENTRIES.split(text) if entry.strip())
        if not value and text:
            raise InvalidValue("must not be empty")
    if validate is not None:
        validate(value)
    return value


def name_variable(settings_class: type[Any], field: dataclasses.Field[Any]) -> str:
    """Return the name of the environment variable that a field is read from."""
    return getattr(settings_class, "prefix", "") + str(field.metadata["variable"])


def is_local_only() -> bool:
    """Return whether `LOCAL_ONLY=yes` says that nobody but this machine's owner can reach the services."""
    return os.environ.get(LOCAL_ONLY) == "yes"
