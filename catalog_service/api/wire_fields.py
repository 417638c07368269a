"""What the wire's shapes are built of. Lengths are in code points."""

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Length

MAX_ID_CHARACTERS = 128
MAX_NAME_CHARACTERS = 200


class RequestSchema(Schema):
    """Fields that a request has beyond ours are ignored, as the contract says."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE


class StrictBoolean(fields.Boolean):
    """`true` or `false`; marshmallow's own takes "yes" and 1 too."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


def text(longest: int, *, shortest: int = 0, **options: Any) -> fields.String:
    """Make a string field with a least and a greatest length, of what PostgreSQL can hold."""
    return fields.String(validate=[Length(shortest, longest), _storable], **options)


def _storable(value: str) -> None:
    # A JSON body cannot bring these here; a row of a file can.
    if "\x00" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValidationError("Must not hold NUL characters or lone surrogates.")
