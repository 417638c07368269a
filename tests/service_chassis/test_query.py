"""Query strings are read by the parameters that are published."""

import pytest
from aiohttp.test_utils import make_mocked_request

from service_chassis.errors import InvalidRequest
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import query

PARAMETERS = (
    query("name", "Any text."),
    query("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    query("status", "Which.", {"type": "string", "enum": ["active", "ended"]}),
)
REQUIRED = ({**query("state", "Must be held.", {"type": "string", "enum": ["held"]}), "required": True},)


def read(text: str, parameters: object = PARAMETERS) -> dict[str, object]:
    return read_query(make_mocked_request("GET", f"/?{text}"), parameters)  # type: ignore[arg-type]


def test_what_is_absent_is_none_and_what_is_there_is_read_by_its_type() -> None:
    assert read("") == {"name": None, "limit": None, "status": None}
    assert read("name=%C3%A4&limit=1000&status=ended") == {"name": "ä", "limit": 1000, "status": "ended"}
    assert read("state=held", REQUIRED) == {"state": "held"}


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("limit=0", "limit", "Must be an integer from 1 to 1000."),
        ("limit=1001", "limit", "Must be an integer from 1 to 1000."),
        ("limit=01", "limit", "Must be an integer from 1 to 1000."),
        ("limit=%2B1", "limit", "Must be an integer from 1 to 1000."),
        ("limit=1.0", "limit", "Must be an integer from 1 to 1000."),
        ("limit=", "limit", "Must be an integer from 1 to 1000."),
        ("limit=%D9%A1", "limit", "Must be an integer from 1 to 1000."),
        ("status=gone", "status", "Must be one of: active, ended."),
        ("name=a&name=b", "name", "Must be given once."),
        ("nmae=a", "nmae", "Unknown parameter."),
        ("name=%00", "name", "Must be text in UTF-8 without NUL characters."),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(text: str, field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert [(detail.field, detail.message) for detail in refused.value.details] == [(field, message)]


@pytest.mark.parametrize("text", ["", "state=settled"])
def test_a_required_parameter_is_asked_for(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text, REQUIRED)
    assert [(detail.field, detail.message) for detail in refused.value.details] == [("state", "Must be held.")]
