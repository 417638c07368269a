"""What a plan is made of, as callers send it and as files hold it."""

from collections.abc import Mapping
from typing import Any, Literal

from marshmallow import Schema, ValidationError, fields

from service_chassis.schema.fields import REQUIRED, BoundedList, OpenSchema, count, text

MAX_ID_CHARACTERS = 128
MAX_NAME_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 10_000
MAX_COLOR_CHARACTERS = 64
MAX_ASSOCIATED = 500
"""Documents or supplemental benefits of one plan: what fits into a public call's body with ids of usual length."""

Unknown = Literal["exclude", "raise"]
"""What becomes of unknown fields, in marshmallow's words."""

REQUIRED_OF_A_PLAN = ("plan_name", "description", "collection_id", "color")


class AssociatedDocumentSchema(OpenSchema):
    """A document that belongs to a plan."""

    document_id = text(MAX_ID_CHARACTERS, required=True)
    document_name = text(MAX_NAME_CHARACTERS, shortest=0, required=True)


class AssociatedBenefitSchema(OpenSchema):
    """A supplemental benefit that belongs to a plan."""

    supplemental_benefit_id = text(MAX_ID_CHARACTERS, required=True)
    benefit_name = text(MAX_NAME_CHARACTERS, shortest=0, required=True)


def associated(schema: type[Schema], id_name: str, unknown: Unknown = "exclude") -> BoundedList:
    """Make the field of a plan's documents or benefits; `unknown` is what becomes of unknown fields of one."""

    def require_distinct(found: list[dict[str, str]]) -> None:
        if len({one[id_name] for one in found}) < len(found):
            raise ValidationError(f"Must not repeat a {id_name}.")

    return BoundedList(
        fields.Nested(schema, unknown=unknown), validate=[count(None, MAX_ASSOCIATED), require_distinct]
    )


class PlanFieldsSchema(OpenSchema):
    """The fields of a plan; which of them must be there is the business of whoever reads one."""

    plan_id = text(MAX_ID_CHARACTERS)
    plan_name = text(MAX_NAME_CHARACTERS)
    description = text(MAX_DESCRIPTION_CHARACTERS, shortest=0)
    collection_id = text(MAX_ID_CHARACTERS)
    color = text(MAX_COLOR_CHARACTERS)
    associated_documents = associated(AssociatedDocumentSchema, "document_id")
    associated_supplemental_benefits = associated(AssociatedBenefitSchema, "supplemental_benefit_id")


def require_whole_plan(data: Mapping[str, Any]) -> None:
    """Raise ValidationError naming what a whole plan must have and `data` lacks."""
    missing = {name: [REQUIRED] for name in REQUIRED_OF_A_PLAN if name not in data}
    if missing:
        raise ValidationError(missing)
