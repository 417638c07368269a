"""What a plan is made of, as callers send it and as files hold it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from marshmallow import ValidationError, fields

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


def _distinct(name: str) -> Callable[[list[dict[str, str]]], None]:
    def check(associated: list[dict[str, str]]) -> None:
        if len({one[name] for one in associated}) < len(associated):
            raise ValidationError(f"Must not repeat a {name}.")

    return check


def associated_documents(unknown: Unknown = "exclude") -> BoundedList:
    """Make the field of a plan's documents; `unknown` is what becomes of unknown fields of one."""
    documents = fields.Nested(AssociatedDocumentSchema, unknown=unknown)
    return BoundedList(documents, validate=[count(None, MAX_ASSOCIATED), _distinct("document_id")])


def associated_supplemental_benefits(unknown: Unknown = "exclude") -> BoundedList:
    """Make the field of a plan's supplemental benefits, as `associated_documents`."""
    benefits = fields.Nested(AssociatedBenefitSchema, unknown=unknown)
    return BoundedList(benefits, validate=[count(None, MAX_ASSOCIATED), _distinct("supplemental_benefit_id")])


class PlanFieldsSchema(OpenSchema):
    """The fields of a plan; which of them must be there is the business of whoever reads one."""

    plan_id = text(MAX_ID_CHARACTERS)
    plan_name = text(MAX_NAME_CHARACTERS)
    description = text(MAX_DESCRIPTION_CHARACTERS, shortest=0)
    collection_id = text(MAX_ID_CHARACTERS)
    color = text(MAX_COLOR_CHARACTERS)
    associated_documents = associated_documents()
    associated_supplemental_benefits = associated_supplemental_benefits()


def require_whole_plan(data: Mapping[str, Any]) -> None:
    """Raise ValidationError naming what a whole plan must have and `data` lacks."""
    missing = {name: [REQUIRED] for name in REQUIRED_OF_A_PLAN if name not in data}
    if missing:
        raise ValidationError(missing)
