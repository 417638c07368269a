"""How arguments are read, and what is said of those that cannot be: one line that names the argument."""

import re
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from service_chassis.schema.fields import FIRST_YEAR, LAST_YEAR, is_storable

Function = TypeVar("Function", bound=Callable[..., Any])

_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?", re.ASCII)


class _Flags:
    """Whose help names no type for a flag: by itself typer writes `--json <bool>`, as if a value could follow."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, that of `--help` among them."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class Group(_Flags, TyperGroup):
    """A service's commands, or some that belong together."""


class Command(_Flags, TyperCommand):
    """A command for which `-5` is a value, and everything else that begins with a dash an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `args`, options first: what follows `--` is never taken for one."""
        takes_value = {
            name
            for parameter in self.get_params(ctx)
            if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            for name in parameter.opts
        }
        options: list[str] = []
        values: list[str] = []
        rest = iter(args)
        for argument in rest:
            if argument == "--":
                values += rest
            elif len(argument) < 2 or not argument.startswith("-") or _NEGATIVE_NUMBER.fullmatch(argument):
                values.append(argument)
            else:
                options.append(argument)
                if argument in takes_value:
                    value = next(rest, None)
                    if value is None:
                        raise typer.BadParameter(f"{argument} needs a value", ctx)
                    options.append(value)
        ctx.allow_extra_args = True  # told below, with what there may be
        unread: list[str] = super().parse_args(ctx, [*options, "--", *values] if args else args)
        if unread:
            takes = " and ".join(each.name for each in self.params if each.param_type_name == "argument")
            raise typer.BadParameter(
                f"takes {takes or 'no argument'}, and {unread[0]!r} is one too many; put what has blanks in quotes",
                ctx,
            )
        for parameter in self.get_params(ctx):
            if parameter.name in ctx.params:
                _require_usable(ctx, parameter, ctx.params[parameter.name])
        return unread


def _require_usable(ctx: Any, parameter: Any, value: Any) -> None:
    """Raise BadParameter for text that cannot be stored, as a file may be named, and for years no call would take."""
    if isinstance(value, datetime) and not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise typer.BadParameter(f"Must lie in the years {FIRST_YEAR} to {LAST_YEAR}.", ctx, parameter)
    if isinstance(value, str) and not is_storable(value):
        raise typer.BadParameter("Must be text in UTF-8.", ctx, parameter)


class Commands(typer.Typer):
    """A group of commands, each one a Command."""

    def __init__(self, **settings: Any) -> None:
        """Make it, as `typer.Typer`."""
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None) -> Callable[[Function], Function]:  # type: ignore[override]
        """Add a command, as `typer.Typer.command`."""
        return super().command(name, cls=Command)


def describe_usage(error: typer.TyperException, service: str) -> str:
    """Return what is wrong with the arguments, in one line, or nothing where the help has said it."""
    if not isinstance(error, typer.BadParameter) and not error.message.strip():
        return ""  # no command of a group was named
    context = getattr(error, "ctx", None)
    place = context.command_path if context is not None else f"python -m {service}"
    return f"{place}: {in_one_line(_describe(error))} (see --help)"


def in_one_line(text: str) -> str:
    """Return what is said with line ends and control characters, which an argument may hold, as they are escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _describe(error: typer.TyperException) -> str:
    parameter = getattr(error, "param", None)
    if not isinstance(error, typer.BadParameter) or parameter is None:
        return _first_small(error.message if isinstance(error, typer.BadParameter) else error.format_message())
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.get_error_hint().strip("'")
    if parameter.type_descriptor.is_datetime and error.__cause__ is not None:
        formats = parameter.type_descriptor.parameter_info.formats
        return f"{name}: must be written as {' or '.join(_MOMENT.strftime(each) for each in formats)}"
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{name}: must be {' or '.join(each.value for each in kind)}"
    if isinstance(kind, type) and error.message and issubclass(kind, _FILES):
        return f"{name}: must be a file that can be read"
    faults = getattr(error.__cause__, "errors", None)
    if faults is not None:
        return f"{name}: {_describe_value(faults()[0])}"
    return f"{name}: {_first_small(error.message) or 'must be given'}"


_FILES = (Path, typer.FileBinaryRead)
_MOMENT = datetime(2026, 7, 1, 14, 3)
_OF_VALUES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "uuid": "must be a UUID",
    "greater": "must be at least {ge}",
    "less": "must be at most {le}",
    "value": "{error}",
}
"""By the first word of pydantic's code, which is part of its interface as its sentences are not."""


def _describe_value(fault: dict[str, Any]) -> str:
    kind = str(fault["type"]).partition("_")[0]
    return _first_small(_OF_VALUES.get(kind, "cannot be used").format(**fault.get("ctx", {})))


def _first_small(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}".removesuffix(".")
