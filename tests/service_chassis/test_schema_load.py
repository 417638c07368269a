"""A compiled load is the schema's own load: the same values, the same words."""

from typing import Any

import pytest
from marshmallow import (
    EXCLUDE,
    INCLUDE,
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validate,
    validates,
    validates_schema,
)

from service_chassis.schema.load import compile_load


class ThingSchema(Schema):
    class Meta:
        unknown = RAISE

    name = fields.String(required=True, data_key="theName", validate=validate.Length(min=1, max=3))
    count = fields.Integer(strict=True, load_default=1, validate=validate.Range(min=0))
    note = fields.String(allow_none=True)
    tags = fields.List(fields.String(validate=validate.Length(min=1)), allow_none=True)
    counts = fields.List(fields.Integer(strict=True))
    anything = fields.List(fields.Raw(allow_none=True))
    something = fields.List(fields.Raw())
    nested = fields.List(fields.List(fields.String()))
    at = fields.AwareDateTime()
    code = fields.String(validate=[validate.Length(equal=2), validate.Regexp("^[a-z]+$")])
    long = fields.String(validate=validate.Length(min=2))


class LenientSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    name = fields.String()


class OpenSchema(Schema):
    class Meta:
        unknown = INCLUDE

    name = fields.String()


@pytest.mark.parametrize(
    "document",
    [
        {"theName": "a"},
        {"theName": "abc", "count": 0, "note": None, "tags": None},
        {"theName": "é", "tags": ["x", "y"], "at": "2026-01-02T03:04:05Z"},
        {"theName": "abcd"},
        {"theName": None},
        {"name": "a"},
        {"theName": "a", "count": True},
        {"theName": "a", "count": 1.0},
        {"theName": "a", "count": -1},
        {"theName": "a", "tags": ["x", 1]},
        {"theName": "a", "tags": [""]},
        {"theName": "a", "tags": [None]},
        {"theName": "a", "tags": [], "counts": [1, 2], "anything": [1, "a", None, {}]},
        {"theName": "a", "something": [1, "a", {}], "nested": [["a"], []]},
        {"theName": "a", "something": [None]},
        {"theName": "a", "nested": [["a"], [1]]},
        {"theName": "a", "counts": [True]},
        {"theName": "a", "counts": [1.0]},
        {"theName": "a", "at": "soon"},
        {"theName": "a", "at": None},
        {"theName": "a", "code": "ab"},
        {"theName": "a", "code": "a\n"},
        {"theName": "a", "code": "abc"},
        {"theName": "a", "code": "AB"},
        {"theName": "a", "code": "", "count": 2},
        {"theName": "a", "long": "xy"},
        {"theName": "a", "long": "x"},
        {"theName": "a", "more": 1},
        {},
        [],
        "a",
    ],
)
def test_it_answers_and_refuses_as_the_schema_does(document: Any) -> None:
    assert outcome(compile_load(ThingSchema()), document) == outcome(ThingSchema().load, document)


@pytest.mark.parametrize("document", [{"name": "a", "more": 1}, {"more": 1}, {"name": 1, "more": 1}])
def test_unknown_fields_are_left_out_where_the_schema_says_so(document: Any) -> None:
    assert outcome(compile_load(LenientSchema()), document) == outcome(LenientSchema().load, document)


def outcome(load: Any, document: Any) -> Any:
    try:
        return load(document)
    except ValidationError as error:
        return error.messages


def test_a_schema_that_takes_unknown_fields_in_is_not_compiled() -> None:
    with pytest.raises(TypeError):
        compile_load(OpenSchema())


@pytest.mark.parametrize("hook", [validates_schema, validates("name"), post_load, pre_load])
def test_a_schema_with_hooks_is_refused_since_they_would_not_run(hook: Any) -> None:
    body = {
        "Meta": type("Meta", (), {"unknown": RAISE}),
        "name": fields.String(),
        "hook": hook(lambda *_, **__: None),
    }
    with pytest.raises(TypeError, match="hooks"):
        compile_load(type("HookedSchema", (Schema,), body)())
