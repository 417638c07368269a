"""The wire's shapes around access tokens."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from catalog_service.clients.client import MAX_SECRET_CHARACTERS
from catalog_service.plans.schema import MAX_ID_CHARACTERS, MAX_NAME_CHARACTERS
from service_chassis.schema.fields import OpenSchema, email_address, text

MAX_USER_ID_CHARACTERS = 128
"""With it the longest token is well below what a verifier reads (service_chassis.auth.bearer)."""
MAX_FINGERPRINT_CHARACTERS = 1024


class UserSchema(OpenSchema):
    """The person a token is for."""

    json_schema = {"if": {"not": {"required": ["uid"]}}, "then": {"required": ["email"]}}  # noqa: RUF012 - `_is_somebody`

    first_name = text(MAX_NAME_CHARACTERS, shortest=0, required=True)
    last_name = text(MAX_NAME_CHARACTERS, shortest=0, required=True)
    email = email_address(metadata={"description": "Required unless `uid` is given."})
    uid = text(
        MAX_USER_ID_CHARACTERS,
        metadata={"description": "The user's id; without it, one is derived from client and email."},
    )
    group_name = text(MAX_NAME_CHARACTERS, shortest=0)

    @validates_schema
    def _is_somebody(self, data: dict[str, Any], **_: Any) -> None:
        if "email" not in data and "uid" not in data:
            raise ValidationError("Give an email or a uid.", "email")


class TokenRequestSchema(OpenSchema):
    """A client's credentials, and for whom it wants a token."""

    client_id = text(MAX_ID_CHARACTERS, required=True)
    client_secret = text(MAX_SECRET_CHARACTERS, required=True)
    fingerprint = text(
        MAX_FINGERPRINT_CHARACTERS,
        required=True,
        metadata={"description": "Of the caller's device; only its SHA-256 is kept, as a claim."},
    )
    user = fields.Nested(UserSchema, metadata={"description": "Without it the token acts for the whole client."})

    @validates_schema
    def _user_is_not_the_client(self, data: dict[str, Any], **_: Any) -> None:
        # `sub` equal to `client_id` is how a client token is recognised.
        if data.get("user", {}).get("uid") == data["client_id"]:
            raise ValidationError({"user": {"uid": ["Must not be the client's own id."]}})


class TokenSchema(Schema):
    """An access token."""

    access_token = fields.String(required=True, metadata={"description": "A JWT, signed with ES256."})
    token_type = fields.String(required=True, metadata={"enum": ["Bearer"]})
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds."})


class JsonWebKeySchema(Schema):
    """A public key (RFC 7517, RFC 7518)."""

    kty = fields.String(required=True)
    crv = fields.String(required=True)
    x = fields.String(required=True)
    y = fields.String(required=True)
    kid = fields.String(required=True)
    use = fields.String(required=True)
    alg = fields.String(required=True)


class JsonWebKeySetSchema(Schema):
    """The keys that access tokens can be verified with at the moment."""

    keys = fields.List(fields.Nested(JsonWebKeySchema), required=True)
