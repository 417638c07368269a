"""Whoever sent something wrong is told so in our words: no schema speaks in the words of the library behind it."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import marshmallow
import pytest
from marshmallow import Schema, fields, validate

from service_chassis.schema.fields import ClosedSchema, OpenSchema

ROOT = Path(__file__).parent.parent
SERVICES = ("catalog_service", "activity_service", "metering_service")
THE_SAME_ANYWAY = {"Unknown field."}
FIELDS_OF_MARSHMALLOW = [each for each in vars(fields).values() if isinstance(each, type)]
THEIR_WORDS = {
    words for kind in FIELDS_OF_MARSHMALLOW for words in getattr(kind, "default_error_messages", {}).values()
} | set(marshmallow.schema.Schema._default_error_messages.values())
VALIDATORS_WITH_WORDS = (
    validate.Length,
    validate.Range,
    validate.OneOf,
    validate.NoneOf,
    validate.Regexp,
    validate.Equal,
    validate.Email,
    validate.URL,
)


def schemas_of_bodies_and_files() -> list[type[Schema]]:
    for service in SERVICES:
        for path in (ROOT / service).glob("**/*schema*.py"):
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    import_module("catalog_service.plans.import_file")
    found: list[type[Schema]] = []
    left: list[type[Schema]] = [ClosedSchema, OpenSchema]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith(SERVICES):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__qualname__)


def fields_within(field: fields.Field[Any]) -> Iterator[fields.Field[Any]]:
    yield field
    for name in ("inner", "key_field", "value_field"):
        part = getattr(field, name, None)
        if isinstance(part, fields.Field):
            yield from fields_within(part)


@pytest.mark.parametrize("schema", schemas_of_bodies_and_files(), ids=lambda schema: schema.__qualname__)
def test_what_is_said_of_a_wrong_field_is_said_in_our_words(schema: type[Schema]) -> None:
    made = schema()
    assert set(made.error_messages.values()) & THEIR_WORDS <= THE_SAME_ANYWAY
    for name, bound in made.fields.items():
        for field in fields_within(bound):
            theirs = set(field.error_messages.values()) & THEIR_WORDS
            assert not theirs, f"{schema.__qualname__}.{name} ({type(field).__name__}): {theirs}"
            for validator in field.validators:
                if isinstance(validator, VALIDATORS_WITH_WORDS):
                    assert validator.error is not None, f"{schema.__qualname__}.{name}: {validator}"
                    assert not validator.error.startswith(("Not a valid", "Longer than", "Shorter than"))


def test_the_sweep_sees_what_it_is_to_find() -> None:
    """It covers every body that is published, and the words it looks for are those of the library."""
    assert {"Not a valid string.", "Field may not be null.", "Not a valid mapping type."} <= THEIR_WORDS
    names = {schema.__qualname__ for schema in schemas_of_bodies_and_files()}
    assert {"NewPlanPlaySchema", "TokenRequestSchema", "PolicySchema", "ImportedPlanSchema", "EventsSchema"} <= names
