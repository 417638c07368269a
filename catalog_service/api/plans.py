"""The plans of the client that is calling."""

from aiohttp import web

from catalog_service.api.auth import authenticate
from catalog_service.api.plan_schemas import (
    GetPlanDetailsSchema,
    GetPlansSchema,
    PlanReferenceSchema,
    PlanSchema,
    SyncPlanSchema,
)
from catalog_service.api.responses import (
    accepts_gzip,
    describe_header,
    describe_success,
    dump_plan,
    respond,
    respond_encoded,
)
from catalog_service.components import COMPONENTS
from catalog_service.errors import InvalidAccessToken, PlanNotFound
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Endpoint, Failure
from service_chassis.schema.load import compile_load

_load_get_plans = compile_load(GetPlansSchema())
_GET_PLAN_DETAILS = GetPlanDetailsSchema()
_SYNC_PLAN = SyncPlanSchema()


async def get_plans(request: web.Request) -> web.Response:
    """POST /get-plans."""
    caller = await authenticate(request)
    wanted = await read_body(request, _load_get_plans, optional=True)
    plans = await request.app[COMPONENTS].encoded_plans.fetch(
        caller.client_id, wanted["collection_id"], caller.plans_version, accept_gzip=accepts_gzip(request)
    )
    return respond_encoded(plans)


async def get_plan_details(request: web.Request) -> web.Response:
    """POST /get-plan-details."""
    caller = await authenticate(request)
    wanted = await read_body(request, _GET_PLAN_DETAILS)
    return respond(dump_plan(await request.app[COMPONENTS].plans.fetch(caller.client_id, wanted["plan_id"])))


async def sync_plan(request: web.Request) -> web.Response:
    """POST /sync-plan: create, change or delete a plan."""
    caller = await authenticate(request)
    plans = request.app[COMPONENTS].plans
    fields = await read_body(request, _SYNC_PLAN)
    is_delete, plan_id = fields.pop("is_delete"), fields.pop("plan_id", None)
    if is_delete:
        await plans.delete(caller.client_id, plan_id)
        return respond({"plan_id": plan_id})
    if plan_id is None:
        return respond(dump_plan(await plans.create(caller.client_id, fields)))
    return respond(dump_plan(await plans.change(caller.client_id, plan_id, fields)))


_PLAN = {
    "plan_id": "plan-abc-123",
    "plan_name": "Basic Plan",
    "description": "This is a basic plan",
    "collection_id": "collection-123",
    "color": "#FF5733",
    "created_at": "2024-01-15T10:30:00Z",
    "updated_at": "2024-01-15T10:30:00Z",
    "associated_documents": [{"document_id": "doc-123", "document_name": "Plan Overview"}],
    "associated_supplemental_benefits": [],
}
_NEW_PLAN = {name: _PLAN[name] for name in ("plan_name", "description", "collection_id", "color")}

_INVALID = Failure(
    "The body is not acceptable; the message names the field.",
    InvalidRequest.field("plan_id", "Must be a string."),
    InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
)
_NO_TOKEN = Failure(
    "The token is missing, malformed, expired, wrongly signed, of another audience or lacks the "
    "scope `plans`, or its client is disabled.",
    InvalidAccessToken(),
)
_NO_PLAN = Failure("The client has no such plan.", PlanNotFound())

ENDPOINTS = (
    Endpoint(
        "POST",
        "/get-plans",
        get_plans,
        summary="List plans",
        description="Without a body, or without a `collection_id` in it: every plan of the client.",
        tag="plans",
        body=GetPlansSchema,
        body_required=False,
        body_examples={"Of one collection": {"collection_id": "collection-123"}, "All": {}},
        responses=describe_success(
            "The client's plans, in no particular order; gzipped for those who accept it.",
            {"type": "array", "items": PlanSchema},
            [_PLAN],
            {"Vary": describe_header("What the encoding depends on.", const="Accept-Encoding")},
        ),
        failures=[_INVALID, _NO_TOKEN],
    ),
    Endpoint(
        "POST",
        "/get-plan-details",
        get_plan_details,
        summary="Get one plan",
        description="A plan of the client that the token is for.",
        tag="plans",
        body=GetPlanDetailsSchema,
        body_examples={"One plan": {"plan_id": "plan-abc-123"}},
        responses=describe_success("The plan.", PlanSchema, _PLAN),
        failures=[_INVALID, _NO_TOKEN, _NO_PLAN],
    ),
    Endpoint(
        "POST",
        "/sync-plan",
        sync_plan,
        summary="Create, change or delete a plan",
        description="Create: `plan_name`, `description`, `collection_id` and `color`. "
        "Change: `plan_id` and any of those. Delete: `plan_id` and `is_delete: true`. "
        "`associated_documents` and `associated_supplemental_benefits` replace the whole array.",
        tag="plans",
        body=SyncPlanSchema,
        body_examples={
            "Create": _NEW_PLAN,
            "Change": {"plan_id": "plan-abc-123", "color": "#993366"},
            "Delete": {"plan_id": "plan-abc-123", "is_delete": True},
        },
        responses=describe_success(
            "The plan as it now is; only its id when it was deleted.",
            {"anyOf": [PlanSchema, PlanReferenceSchema]},
            _PLAN,
        ),
        failures=[_INVALID, _NO_TOKEN, _NO_PLAN],
    ),
)
