"""The wire's shapes of clients, their secrets, and the trail of changes."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from catalog_service.clients.client import (
    CLIENT_ID_FORM,
    DEFAULT_OVERLAP_SECONDS,
    MAX_NAME_CHARACTERS,
    MAX_OVERLAP_SECONDS,
    MAX_SECRET_CHARACTERS,
    WRONG_CLIENT_ID,
)
from catalog_service.plans.schema import MAX_ID_CHARACTERS
from service_chassis.schema.fields import OpenSchema, StrictBoolean, UtcDateTime, integer, text

_PERMISSION = {"description": "Whether it may list other clients' plan plays."}
_OVERLAP = {"description": "How long the present secret stays good; a day unless said."}


class NewClientSchema(OpenSchema):
    """A client to register."""

    client_id = fields.String(
        required=True, validate=validate.Regexp(f"^{CLIENT_ID_FORM.pattern}$", error=WRONG_CLIENT_ID)
    )
    name = text(MAX_NAME_CHARACTERS, required=True, metadata={"description": "What people call it. Printable."})
    may_read_all_clients = StrictBoolean(load_default=False, metadata=_PERMISSION)


class ClientChangeSchema(OpenSchema):
    """What is to change about a client."""

    json_schema = {  # noqa: RUF012 - `_is_a_change`, for the published document
        "anyOf": [{"required": [name]} for name in ("name", "may_read_all_clients", "disabled")]
    }

    name = text(MAX_NAME_CHARACTERS, metadata={"description": "What people call it. Printable."})
    may_read_all_clients = StrictBoolean(metadata=_PERMISSION)
    disabled = StrictBoolean(
        metadata={"description": "Disabled, it gets no token and is refused its plans at once. Its plans stay."}
    )

    @validates_schema
    def _is_a_change(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Give at least one field to change.")


class NewSecretSchema(OpenSchema):
    """A further secret."""

    expires_at = UtcDateTime(
        allow_none=True, load_default=None, metadata={"description": "Until when it is good; without, until told."}
    )


class OwnSecretSchema(OpenSchema):
    """A client's credentials, of which it wants another secret."""

    client_id = text(MAX_ID_CHARACTERS, required=True)
    client_secret = text(MAX_SECRET_CHARACTERS, required=True)
    overlap_seconds = integer(0, MAX_OVERLAP_SECONDS, load_default=DEFAULT_OVERLAP_SECONDS, metadata=_OVERLAP)


class ClientSchema(Schema):
    """A client. `disabled_at` is null while it may use the API."""

    client_id = fields.String(required=True)
    name = fields.String(required=True)
    may_read_all_clients = fields.Boolean(required=True, metadata=_PERMISSION)
    disabled_at = fields.DateTime(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)


class ClientsSchema(Schema):
    """Clients, by id."""

    clients = fields.List(fields.Nested(ClientSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class SecretSchema(Schema):
    """A live secret, without itself: nobody knows it but the client."""

    secret_id = fields.String(required=True)
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "Null while it is not told to end."}
    )
    last_used_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "To the hour. Null before its first use."}
    )


class SecretsSchema(Schema):
    """The live secrets of a client, oldest first."""

    secrets = fields.List(fields.Nested(SecretSchema), required=True)


class SecretReferenceSchema(Schema):
    """The secret that was revoked."""

    secret_id = fields.String(required=True)


class IssuedSecretSchema(Schema):
    """A secret as its client gets it, this once."""

    client_id = fields.String(required=True)
    secret_id = fields.String(required=True)
    client_secret = fields.String(required=True, metadata={"description": "Kept nowhere: note it down now."})
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "Null while it is not told to end."}
    )


class RotatedSecretSchema(IssuedSecretSchema):
    """A secret that takes the place of another, as its client gets it, this once."""

    previous_expires_at = fields.DateTime(
        required=True, metadata={"description": "Until when the secret that was shown is good."}
    )


class RegisteredClientSchema(Schema):
    """A client that was just registered, and its first secret."""

    client = fields.Nested(ClientSchema, required=True)
    secret = fields.Nested(IssuedSecretSchema, required=True)


class AdminAuditLineSchema(Schema):
    """A change."""

    audit_id = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    actor = fields.String(
        required=True, metadata={"description": "The name of an admin key, `command line`, or `the client`."}
    )
    action = fields.String(required=True)
    target = fields.String(required=True, metadata={"description": "The client's id."})
    detail = fields.Dict(required=True, metadata={"description": "What else is to be known of it. No secrets."})


class AdminAuditSchema(Schema):
    """Changes, newest first."""

    entries = fields.List(fields.Nested(AdminAuditLineSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
