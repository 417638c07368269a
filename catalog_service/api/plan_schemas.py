"""The wire's shapes of plans; `PlanSchema` is the only definition of what a plan looks like outside."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from catalog_service.plans.schema import (
    MAX_ID_CHARACTERS,
    REQUIRED_OF_A_PLAN,
    AssociatedBenefitSchema,
    AssociatedDocumentSchema,
    PlanFieldsSchema,
    require_whole_plan,
)
from service_chassis.schema.fields import REQUIRED, OpenSchema, StrictBoolean, text

_ASSOCIATED = ("associated_documents", "associated_supplemental_benefits")


class GetPlansSchema(OpenSchema):
    """Which plans to list."""

    collection_id = text(
        MAX_ID_CHARACTERS,
        shortest=0,
        allow_none=True,
        load_default=None,
        metadata={"description": "Absent or null: every plan of the client."},
    )


class GetPlanDetailsSchema(OpenSchema):
    """Which plan to show."""

    plan_id = text(MAX_ID_CHARACTERS, shortest=0, required=True)


class SyncPlanSchema(PlanFieldsSchema):
    """A plan to create (no `plan_id`), to change (`plan_id` and what is new) or to delete (`is_delete`)."""

    json_schema = {  # noqa: RUF012 - `_is_one_of_three`, for the published document
        "if": {"required": ["is_delete"], "properties": {"is_delete": {"const": True}}},
        "then": {"required": ["plan_id"]},
        "else": {
            "if": {"required": ["plan_id"]},
            "then": {"anyOf": [{"required": [name]} for name in (*REQUIRED_OF_A_PLAN, *_ASSOCIATED)]},
            "else": {"required": list(REQUIRED_OF_A_PLAN)},
        },
    }

    is_delete = StrictBoolean(load_default=False)

    @validates_schema
    def _is_one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        if data["is_delete"]:
            if "plan_id" not in data:
                raise ValidationError(REQUIRED, "plan_id")
        elif "plan_id" not in data:
            require_whole_plan(data)
        elif data.keys() <= {"plan_id", "is_delete"}:
            raise ValidationError("Give at least one field to change beside plan_id.")


class PlanSchema(Schema):
    """A plan. `associated_documents` and `associated_supplemental_benefits` are empty when there are none."""

    plan_id = fields.String(required=True)
    plan_name = fields.String(required=True)
    description = fields.String(required=True)
    collection_id = fields.String(required=True)
    color = fields.String(required=True)
    created_at = fields.DateTime(required=True, metadata={"description": "ISO 8601, UTC, with `Z`."})
    updated_at = fields.DateTime(required=True, metadata={"description": "ISO 8601, UTC, with `Z`."})
    associated_documents = fields.List(fields.Nested(AssociatedDocumentSchema), required=True)
    associated_supplemental_benefits = fields.List(fields.Nested(AssociatedBenefitSchema), required=True)


class PlanReferenceSchema(Schema):
    """The plan that was deleted."""

    plan_id = fields.String(required=True)
