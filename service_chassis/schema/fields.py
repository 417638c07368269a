"""What the wire's shapes are built of, each kind of value strict and bounded, and each here once.

Lengths are in code points.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

MAX_EMAIL_CHARACTERS = 254
"""RFC 5321, 4.5.3.1.3, without the angle brackets."""
MAX_URL_CHARACTERS = 2048
FIRST_YEAR, LAST_YEAR = 1900, 9998
"""The ends of the calendar mean other things elsewhere: to the database driver they are infinity."""

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_CHECK_EMAIL = validate.Email(error="Must be an e-mail address.")
_CHECK_URL = validate.URL(schemes={"http", "https"}, require_tld=False, error="Must be an http or https URL.")

_MOST_HINTS = 20
"""Unknown fields that are compared with the known ones: a body can hold thousands."""

REQUIRED = "Must be there."
NOT_AN_OBJECT = "Must be an object."
NO_MOMENT = "Must be a date and time in ISO 8601 with Z or an offset."
_IN_OUR_WORDS: Mapping[type[fields.Field[Any]], Mapping[str, str]] = {
    fields.Field: {"required": REQUIRED, "null": "Must not be null.", "validator_failed": "Must be something else."},
    fields.String: {"invalid": "Must be a string.", "invalid_utf8": "Must be text in UTF-8."},
    fields.Number: {"invalid": "Must be a number.", "too_large": "Must be a smaller number."},
    fields.Integer: {"invalid": "Must be an integer."},
    fields.Boolean: {"invalid": "Must be true or false."},
    fields.List: {"invalid": "Must be an array."},
    fields.Mapping: {"invalid": NOT_AN_OBJECT},
    fields.Nested: {"type": NOT_AN_OBJECT},
    fields.DateTime: dict.fromkeys(("invalid", "invalid_awareness", "format"), NO_MOMENT),
}
"""What is said of a value that a kind of field does not take, in the place of marshmallow's own words."""


class _OurSchema(Schema):
    """A schema that says in our words what is wrong, and beside an unknown field which known one is most alike."""

    error_messages = {"type": NOT_AN_OBJECT, "unknown": "Unknown field."}  # noqa: RUF012 - marshmallow's way

    def on_bind_field(self, _: str, field_obj: fields.Field[Any]) -> None:
        """Say what the field refuses in our words."""
        _put_in_our_words(field_obj)

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> None:
        """Name the known field that is most alike beside each unknown one."""
        unknown = [self.error_messages["unknown"]]
        known = [field.data_key or name for name, field in self.load_fields.items()]
        unread = [name for name, words in error.messages_dict.items() if words == unknown]
        for name in unread[:_MOST_HINTS]:
            if alike := get_close_matches(str(name)[:100], known, 1):
                error.messages_dict[name] = [f"{unknown[0]} Did you mean {alike[0]}?"]


def _put_in_our_words(field: fields.Field[Any]) -> None:
    for kind, words in _IN_OUR_WORDS.items():
        if isinstance(field, kind):
            theirs = kind.default_error_messages
            ours = {code: said for code, said in words.items() if field.error_messages[code] == theirs[code]}
            field.error_messages = {**field.error_messages, **ours}
    parts = [getattr(field, name, None) for name in ("inner", "key_field", "value_field")]
    for part in parts:
        if isinstance(part, fields.Field):
            _put_in_our_words(part)


class ClosedSchema(_OurSchema):
    """An object in which an unknown field is refused."""

    class Meta:
        """Marshmallow's options."""

        unknown = RAISE


class OpenSchema(_OurSchema):
    """An object whose unknown fields are ignored."""

    class Meta:
        """Marshmallow's options."""

        unknown = EXCLUDE


def text(longest: int, *, shortest: int | None = 1, **options: Any) -> fields.String:
    """Make a field of a string with `shortest` to `longest` characters, of what PostgreSQL can hold.

    Without `shortest`, the document does not speak of a shortest one.
    """
    return fields.String(validate=[length(shortest, longest), require_storable], **options)


def length(shortest: int | None, longest: int) -> validate.Length:
    """Make the validator of a string's length."""
    return validate.Length(shortest, longest, error=f"Must be {shortest or 0} to {longest} characters.")


def count(fewest: int | None, most: int) -> validate.Length:
    """Make the validator of how many elements an array has."""
    return validate.Length(fewest, most, error=f"Must have {fewest or 0} to {most} elements.")


def one_of(*choices: str) -> validate.OneOf:
    """Make the validator of a string that is one of a few."""
    return validate.OneOf(choices, error=f"Must be one of: {', '.join(choices)}.")


def is_storable(value: str) -> bool:
    """Return whether PostgreSQL can hold a text. Undecodable bytes are lone surrogates to Python, and no text."""
    return "\x00" not in value and (value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value))


def require_storable(value: str) -> None:
    """Raise ValidationError for a text that PostgreSQL cannot hold. No JSON body brings one; a row of a file can."""
    if not is_storable(value):
        raise ValidationError("Must not hold NUL characters or lone surrogates.")


def integer(least: int, most: int, *, forbidden: int | None = None, **options: Any) -> fields.Integer:
    """Make a field of an integer from `least` to `most`, written as one: 1.0, true and "1" are none.

    `forbidden` is one between them that is refused.
    """
    words = f"Must be an integer from {least} to {most}."
    validators: list[Any] = [validate.Range(min=least, max=most, error=words)]
    if forbidden is not None:
        validators.append(validate.NoneOf([forbidden], error=f"Must not be {forbidden}."))
    return fields.Integer(strict=True, validate=validators, error_messages={"invalid": words}, **options)


class StrictBoolean(fields.Boolean):
    """`true` or `false`; marshmallow's own takes "yes" and 1 too."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Table(fields.Dict):
    """An object whose names are the caller's own; what is wrong with an entry is told by its name."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[Any, Any]:
        try:
            return dict(super()._deserialize(value, attr, data, **kwargs))  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if isinstance(error.messages, list):
                raise
            told = {name: [_say_of_entry(*each) for each in words.items()] for name, words in error.messages.items()}
            raise ValidationError(told) from None


def _say_of_entry(part: str, words: list[str]) -> str:
    return " ".join(words) if part == "value" else f"Is no name: {' '.join(words)}"


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


def email_address(**options: Any) -> fields.String:
    """Make a field of an e-mail address."""
    metadata = {"format": "email", "maxLength": MAX_EMAIL_CHARACTERS, **options.pop("metadata", {})}
    return fields.String(validate=_short(MAX_EMAIL_CHARACTERS, _CHECK_EMAIL), metadata=metadata, **options)


def web_address(**options: Any) -> fields.String:
    """Make a field of an absolute http or https URL."""
    metadata = {"format": "uri", "maxLength": MAX_URL_CHARACTERS}
    return fields.String(validate=_short(MAX_URL_CHARACTERS, _CHECK_URL), metadata=metadata, **options)


def _short(most: int, check: Callable[[str], object]) -> Callable[[str], None]:
    """Make a validator that looks at the length first: the pattern of `check` is not made for long texts."""

    def validate_short(value: str) -> None:
        if len(value) > most:
            raise ValidationError(f"Must be 1 to {most} characters.")
        check(value)

    return validate_short


class UtcDateTime(fields.AwareDateTime):
    """A date and time in ISO 8601 with `Z` or an offset, loaded as UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
            raise ValidationError(NO_MOMENT)
        try:
            moment = datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValidationError("Must be a date and time that exists.") from error
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise ValidationError(f"Must lie in the years {FIRST_YEAR} to {LAST_YEAR}.")
        return moment
