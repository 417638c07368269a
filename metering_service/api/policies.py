"""Policies, and which client has which."""

from aiohttp import web

from metering_service.api.auth import authenticate
from metering_service.api.policy_schemas import (
    AssignmentSchema,
    AssignPolicySchema,
    PoliciesSchema,
    PolicyHistorySchema,
    PolicyVersionSchema,
)
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_identifier,
    describe_missing,
    describe_refused_keys,
    describe_wrong_field,
    parse_id,
    read_identifier,
    read_page,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.errors import PolicyChanged, PolicyNotFound, UnknownPolicy
from metering_service.policies.schema import PolicySchema, make_policy
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success

_POLICY = PolicySchema()
_ASSIGN_POLICY = AssignPolicySchema()


async def put_policy(request: web.Request) -> web.Response:
    """PUT /internal/policies/{policyId}."""
    key = authenticate(request, "admin")
    policy_id = read_identifier(request, "policyId")
    policy = make_policy(await read_body(request, _POLICY))
    version = await request.app[COMPONENTS].policies.put(policy_id, policy, actor=key.name)
    return respond(version.as_document())


async def list_policies(request: web.Request) -> web.Response:
    """GET /internal/policies."""
    authenticate(request, "admin")
    limit, (after,) = read_page(read_query(request, PAGE_PARAMETERS), ("",), parse_id)
    versions, last = await request.app[COMPONENTS].policies.list_current(after, limit)
    next_cursor = encode_cursor(last.policy_id) if last else None
    return respond({"policies": [version.as_document() for version in versions], "nextCursor": next_cursor})


async def get_policy(request: web.Request) -> web.Response:
    """GET /internal/policies/{policyId}."""
    authenticate(request, "admin")
    versions = await request.app[COMPONENTS].policies.list_versions(read_identifier(request, "policyId"))
    history = [version.as_document() for version in versions]
    return respond({**history[0], "history": history})


async def assign_policy(request: web.Request) -> web.Response:
    """PUT /internal/clients/{clientId}/policy."""
    key = authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    policy_id = (await read_body(request, _ASSIGN_POLICY))["policy_id"]
    await request.app[COMPONENTS].accounts.assign_policy(client_id, policy_id, actor=key.name)
    return respond({"clientId": client_id, "policyId": policy_id})


_POLICY_EXAMPLE = {
    "rate": {"limit": 60, "periodSeconds": 60, "burst": 100},
    "quota": {"limit": 10_000, "period": "month"},
    "prices": {"plan_play.created": 1, "plan_play.completed": 1},
    "credits": "prepaid",
    "mode": "enforce",
}
_VERSION_EXAMPLE = {
    "policyId": "starter",
    "version": 2,
    "createdAt": "2026-07-01T09:00:00Z",
    **_POLICY_EXAMPLE,
}
_ADMIN = describe_refused_keys("admin")
_POLICY_ID = describe_identifier("policyId", "The policy's id.")
_NOT_FOUND = describe_missing(PolicyNotFound())

ENDPOINTS = (
    Endpoint(
        "PUT",
        "/internal/policies/{policyId}",
        put_policy,
        summary="Create or change a policy",
        description="Each change is a new version, the same terms again are none. In force from the next decision.",
        tag="policies",
        parameters=(_POLICY_ID,),
        body=PolicySchema,
        body_examples={"All three gates": _POLICY_EXAMPLE, "No gate at all": {"credits": "unlimited"}},
        responses={200: Success("The current version.", PolicyVersionSchema, _VERSION_EXAMPLE)},
        failures=[
            describe_wrong_field("rate.limit", "Missing data for required field."),
            *_ADMIN,
            Failure(
                "Changed by somebody else at the same moment.",
                PolicyChanged(),
            ),
        ],
    ),
    Endpoint(
        "GET",
        "/internal/policies",
        list_policies,
        summary="List policies",
        description="The current version of each, ordered by id, a page at a time.",
        tag="policies",
        parameters=PAGE_PARAMETERS,
        responses={
            200: Success("Policies, by id.", PoliciesSchema, {"policies": [_VERSION_EXAMPLE], "nextCursor": None})
        },
        failures=[WRONG_PAGE, *_ADMIN],
    ),
    Endpoint(
        "GET",
        "/internal/policies/{policyId}",
        get_policy,
        summary="Get a policy",
        description="The current version, and all versions from the newest to the first.",
        tag="policies",
        parameters=(_POLICY_ID,),
        responses={
            200: Success("The policy.", PolicyHistorySchema, {**_VERSION_EXAMPLE, "history": [_VERSION_EXAMPLE]})
        },
        failures=[_NOT_FOUND, *_ADMIN],
    ),
    Endpoint(
        "PUT",
        "/internal/clients/{clientId}/policy",
        assign_policy,
        summary="Assign a policy to a client",
        description="In force from the next decision. The client need not have been heard of.",
        tag="policies",
        parameters=(describe_identifier("clientId", "The client's id."),),
        body=AssignPolicySchema,
        body_examples={"Assign": {"policyId": "starter"}},
        responses={200: Success("The assignment.", AssignmentSchema, {"clientId": "demo", "policyId": "starter"})},
        failures=[
            describe_wrong_field("policyId", "Missing data for required field."),
            Failure("There is no such policy.", UnknownPolicy("starter")),
            *_ADMIN,
        ],
    ),
)
