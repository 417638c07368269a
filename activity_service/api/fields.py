"""The kinds of value that bodies hold, each strict and bounded."""

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields, validate

from service_chassis.schema.fields import ShortList

MAX_NAME_CHARACTERS = 255
MAX_EMAIL_CHARACTERS = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
MAX_URL_CHARACTERS = 2048
MAX_LIST_ITEMS = 1000
MAX_INTEGER = 2**31 - 1
FIRST_YEAR, LAST_YEAR = 1900, 9998
"""The ends of the calendar are other things in other hands: to the database driver they are infinity."""

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_CHECK_EMAIL = validate.Email()
_CHECK_URL = validate.URL(schemes={"http", "https"}, require_tld=False)


def text(**options: Any) -> fields.String:
    """Make a field of 1 to 255 characters (code points)."""
    return fields.String(validate=validate.Length(min=1, max=MAX_NAME_CHARACTERS), **options)


def text_list(**options: Any) -> ShortList:
    """Make a field of up to 1,000 texts."""
    return ShortList(text(), validate=validate.Length(max=MAX_LIST_ITEMS), **options)


def counter(**options: Any) -> fields.Integer:
    """Make a field of an integer from 0; 1.0, true and "1" are none."""
    return fields.Integer(strict=True, validate=validate.Range(min=0, max=MAX_INTEGER), **options)


class Email(fields.String):
    """An email address. Its length is looked at first: the pattern is not made for long texts."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        _require_length(address, MAX_EMAIL_CHARACTERS)
        _CHECK_EMAIL(address)
        return address


class WebAddress(fields.String):
    """An absolute http or https URL."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        _require_length(address, MAX_URL_CHARACTERS)
        _CHECK_URL(address)
        return address


class Moment(fields.AwareDateTime):
    """A date and time in ISO 8601 with `Z` or an offset, loaded as UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
            raise ValidationError("Must be a date and time in ISO 8601 with Z or an offset.")
        try:
            moment = datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValidationError("Must be a date and time that exists.") from error
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise ValidationError(f"Must lie in the years {FIRST_YEAR} to {LAST_YEAR}.")
        return moment


def _require_length(value: str, limit: int) -> None:
    if len(value) > limit:
        raise ValidationError(f"Longer than maximum length {limit}.")
