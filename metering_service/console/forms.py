"""What people write into forms, as the documents that the API's schemas read, and what those say of it. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from service_chassis.http.json_body import list_faults
from service_chassis.schema.fields import NO_MOMENT

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_IN_THOUSANDS = re.compile(r"-?[0-9]{1,3}([,_ '])[0-9]{3}(?:\1[0-9]{3})*")
_BETWEEN_THOUSANDS = re.compile(r"[,_ ']")
_FRACTION = re.compile(r"[0-9]{1,19}\.[0-9]{1,19}")
_BETWEEN_NUMBERS = re.compile(r",?\s+")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_DAY = "Must be a day, such as 2027-01-31."


def read_text(form: Mapping[str, Any], name: str) -> str:
    """Return what stands in a field, without the space around it; lines end as everywhere else."""
    value = form.get(name, "")
    return value.strip().replace("\r\n", "\n") if isinstance(value, str) else ""


def read_number(text: str) -> int | str:
    """Return an integer, also one that is written with marks between thousands; any other text as it is.

    A mark elsewhere is left for the schema to refuse: half of the world means one and a half by 1,5.
    """
    bare = _BETWEEN_THOUSANDS.sub("", text) if _IN_THOUSANDS.fullmatch(text) else text
    return int(bare) if _INTEGER.fullmatch(bare) else text


def read_numbers(text: str) -> list[int | float | str]:
    """Return integers and decimal fractions with blanks between them; what is neither, as it is."""
    return [
        float(part) if _FRACTION.fullmatch(part) else read_number(part)
        for part in _BETWEEN_NUMBERS.split(text)
        if part
    ]


def read_day(text: str) -> str:
    """Return the beginning of a day, UTC, as a moment; any other text as it is."""
    return f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text


def load(schema: Schema, document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a schema makes of a document, and what is wrong with it by field (`quotas.0.limit`)."""
    try:
        return schema.load(document), {}
    except ValidationError as error:
        # A form asks for days where the API takes moments.
        return {}, {each.field: each.message.replace(NO_MOMENT, _NO_DAY) for each in list_faults(error.messages_dict)}
