"""The table of a service's settings, as docs/operations/configuration.md has it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service_chassis.settings import name_variable


@dataclass(frozen=True)
class SettingDescription:
    """One row of the configuration table."""

    variable: str
    unit: str
    default: str
    description: str


def describe_settings(settings_class: type[Any]) -> Iterator[SettingDescription]:
    """Yield the configuration table of `settings_class`, in the order of its fields."""
    for field in dataclasses.fields(settings_class):
        default = "required" if field.default is dataclasses.MISSING else _show(field.default)
        yield SettingDescription(
            variable=name_variable(settings_class, field),
            unit=field.metadata["unit"],
            default="none" if field.default == () else default,
            description=field.metadata["description"],
        )


def _show(default: object) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)
