"""What the wire's shapes are built of, each kind of value strict and bounded, and each here once.

Lengths are in code points.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

MAX_EMAIL_CHARACTERS = 254
"""RFC 5321, 4.5.3.1.3, without the angle brackets."""
MAX_URL_CHARACTERS = 2048
FIRST_YEAR, LAST_YEAR = 1900, 9998
"""The ends of the calendar mean other things elsewhere: to the database driver they are infinity."""

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_CHECK_EMAIL = validate.Email()
_CHECK_URL = validate.URL(schemes={"http", "https"}, require_tld=False)


class ClosedSchema(Schema):
    """An object in which an unknown field is refused."""

    class Meta:
        """Marshmallow's options."""

        unknown = RAISE


class OpenSchema(Schema):
    """An object whose unknown fields are ignored."""

    class Meta:
        """Marshmallow's options."""

        unknown = EXCLUDE


def text(longest: int, *, shortest: int | None = 1, **options: Any) -> fields.String:
    """Make a field of a string with `shortest` to `longest` characters, of what PostgreSQL can hold.

    Without `shortest`, the document does not speak of a shortest one.
    """
    return fields.String(validate=[validate.Length(shortest, longest), require_storable], **options)


def require_storable(value: str) -> None:
    """Raise ValidationError for a text that PostgreSQL cannot hold. No JSON body brings one; a row of a file can."""
    if "\x00" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValidationError("Must not hold NUL characters or lone surrogates.")


def integer(least: int, most: int, **options: Any) -> fields.Integer:
    """Make a field of an integer from `least` to `most`, written as one: 1.0, true and "1" are none."""
    return fields.Integer(strict=True, validate=validate.Range(min=least, max=most), **options)


class StrictBoolean(fields.Boolean):
    """`true` or `false`; marshmallow's own takes "yes" and 1 too."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class BoundedList(fields.List[Any]):
    """A list that is refused for its length alone, before its elements are looked at.

    marshmallow loads every element, finds words for every wrong one, and counts them last: half a second, and a
    response of megabytes, for a body of 64 KB.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            for validator in self.validators:
                if isinstance(validator, validate.Length):
                    validator(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Email(fields.String):
    """An e-mail address. Its length is looked at first: the pattern is not made for long texts."""

    def __init__(self, **options: Any) -> None:
        metadata = {"format": "email", "maxLength": MAX_EMAIL_CHARACTERS, **options.pop("metadata", {})}
        super().__init__(metadata=metadata, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        _require_length(address, MAX_EMAIL_CHARACTERS)
        _CHECK_EMAIL(address)
        return address


class WebAddress(fields.String):
    """An absolute http or https URL."""

    def __init__(self, **options: Any) -> None:
        super().__init__(metadata={"format": "uri", "maxLength": MAX_URL_CHARACTERS}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        _require_length(address, MAX_URL_CHARACTERS)
        _CHECK_URL(address)
        return address


class UtcDateTime(fields.AwareDateTime):
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
