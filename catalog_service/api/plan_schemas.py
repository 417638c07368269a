"""The wire's shapes of plans; `PlanSchema` is the only definition of what a plan looks like outside."""

from collections.abc import Callable
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length

from catalog_service.api.wire_fields import MAX_ID_CHARACTERS, MAX_NAME_CHARACTERS, RequestSchema, StrictBoolean, text
from service_chassis.schema.dump import compile_dump
from service_chassis.schema.fields import ShortList

MAX_DESCRIPTION_CHARACTERS = 10_000
MAX_COLOR_CHARACTERS = 64
MAX_ASSOCIATED = 500
"""Documents or supplemental benefits of one plan: what fits into a public call's body with ids of usual length."""
_REQUIRED_OF_A_PLAN = ("plan_name", "description", "collection_id", "color")
_ASSOCIATED = ("associated_documents", "associated_supplemental_benefits")
_MISSING = "Missing data for required field."


class GetPlansSchema(RequestSchema):
    """Which plans to list."""

    collection_id = text(
        MAX_ID_CHARACTERS,
        allow_none=True,
        load_default=None,
        metadata={"description": "Absent or null: every plan of the client."},
    )


class GetPlanDetailsSchema(RequestSchema):
    """Which plan to show."""

    plan_id = text(MAX_ID_CHARACTERS, required=True)


class AssociatedDocumentSchema(RequestSchema):
    """A document that belongs to a plan."""

    document_id = text(MAX_ID_CHARACTERS, shortest=1, required=True)
    document_name = text(MAX_NAME_CHARACTERS, required=True)


class AssociatedBenefitSchema(RequestSchema):
    """A supplemental benefit that belongs to a plan."""

    supplemental_benefit_id = text(MAX_ID_CHARACTERS, shortest=1, required=True)
    benefit_name = text(MAX_NAME_CHARACTERS, required=True)


def _distinct(name: str) -> Callable[[list[dict[str, str]]], None]:
    def check(associated: list[dict[str, str]]) -> None:
        if len({one[name] for one in associated}) < len(associated):
            raise ValidationError(f"Must not repeat a {name}.")

    return check


class _PlanFields(RequestSchema):
    """What a plan is made of, as callers send it."""

    plan_id = text(MAX_ID_CHARACTERS, shortest=1)
    plan_name = text(MAX_NAME_CHARACTERS, shortest=1)
    description = text(MAX_DESCRIPTION_CHARACTERS)
    collection_id = text(MAX_ID_CHARACTERS, shortest=1)
    color = text(MAX_COLOR_CHARACTERS, shortest=1)
    associated_documents = ShortList(
        fields.Nested(AssociatedDocumentSchema), validate=[Length(max=MAX_ASSOCIATED), _distinct("document_id")]
    )
    associated_supplemental_benefits = ShortList(
        fields.Nested(AssociatedBenefitSchema),
        validate=[Length(max=MAX_ASSOCIATED), _distinct("supplemental_benefit_id")],
    )

    def _require_whole_plan(self, data: dict[str, Any]) -> None:
        missing = {name: [_MISSING] for name in _REQUIRED_OF_A_PLAN if name not in data}
        if missing:
            raise ValidationError(missing)


class SyncPlanSchema(_PlanFields):
    """A plan to create (no `plan_id`), to change (`plan_id` and what is new) or to delete (`is_delete`)."""

    json_schema = {  # noqa: RUF012 - `_is_one_of_three`, for the published document
        "if": {"required": ["is_delete"], "properties": {"is_delete": {"const": True}}},
        "then": {"required": ["plan_id"]},
        "else": {
            "if": {"required": ["plan_id"]},
            "then": {"anyOf": [{"required": [name]} for name in (*_REQUIRED_OF_A_PLAN, *_ASSOCIATED)]},
            "else": {"required": list(_REQUIRED_OF_A_PLAN)},
        },
    }

    is_delete = StrictBoolean(load_default=False)

    @validates_schema
    def _is_one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        if data["is_delete"]:
            if "plan_id" not in data:
                raise ValidationError(_MISSING, "plan_id")
        elif "plan_id" not in data:
            self._require_whole_plan(data)
        elif data.keys() <= {"plan_id", "is_delete"}:
            raise ValidationError("Give at least one field to change beside plan_id.")


class ImportedPlanSchema(_PlanFields):
    """A whole plan of a file; with a `plan_id` it replaces the plan that has it."""

    @validates_schema
    def _is_whole(self, data: dict[str, Any], **_: Any) -> None:
        self._require_whole_plan(data)


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


dump_plan = compile_dump(PlanSchema())
"""Answers the dict that a Plan is on the wire, as PlanSchema has it."""


class PlanReferenceSchema(Schema):
    """The plan that was deleted."""

    plan_id = fields.String(required=True)
