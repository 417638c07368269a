"""The shape of every answer of this service, for errors too: `{"statusCode", "data", "message"}`."""

from typing import Any

from marshmallow import Schema, fields

from service_chassis.schema.dump import encode_json

OKAY = "OKAY"
UNAUTHORIZED = "UNAUTHORIZED"
"""All that a caller learns of what is wrong with its token."""
UNEXPECTED = "An unexpected error occurred. Please try again."
"""All that a caller learns of a fault."""


class ErrorSchema(Schema):
    """An envelope that says why not."""

    statusCode = fields.Integer(required=True, metadata={"description": "The HTTP status."})
    data = fields.Dict(required=True, metadata={"maxProperties": 0})
    message = fields.String(required=True)


def encode_envelope(data: Any) -> bytes:
    """Write the body of a success."""
    return encode_json({"statusCode": 200, "data": data, "message": OKAY})


def encode_error(status: int, message: str) -> bytes:
    """Write the body of an error."""
    return encode_json({"statusCode": status, "data": {}, "message": message})
