"""A list of the wrong length costs nothing, however wrong its elements are."""

from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields, validate

from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import load
from service_chassis.schema.fields import BoundedList
from service_chassis.schema.load import compile_load


class Counted(fields.Integer):
    """Counts how often it is asked."""

    asked = 0

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        Counted.asked += 1
        return super()._deserialize(value, attr, data, **kwargs)


class ListSchema(Schema):
    numbers = BoundedList(Counted(), required=True, validate=validate.Length(min=1, max=3))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("numbers", [[], ["x"] * 4])
def test_a_wrong_length_is_refused_before_any_element(numbers: list[Any], compiled: bool) -> None:
    Counted.asked = 0
    read = compile_load(ListSchema()) if compiled else ListSchema().load
    with pytest.raises(ValidationError) as refused:
        read({"numbers": numbers})
    assert refused.value.messages == {"numbers": ["Length must be between 1 and 3."]}
    assert Counted.asked == 0


def test_elements_are_loaded_and_named_as_ever() -> None:
    assert ListSchema().load({"numbers": ["1", 2]}) == {"numbers": [1, 2]}
    with pytest.raises(ValidationError) as refused:
        ListSchema().load({"numbers": [1, "x"]})
    assert refused.value.messages == {"numbers": {1: ["Not a valid integer."]}}
    with pytest.raises(ValidationError):
        ListSchema().load({"numbers": "x"})


def test_an_answer_names_some_of_very_many_wrong_fields() -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(ListSchema(), {f"unknown-{number}": 1 for number in range(6000)})
    assert len(refused.value.details) == 20
