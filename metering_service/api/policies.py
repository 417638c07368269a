"""Policies, and which client has which."""

from aiohttp import web

from metering_service.accounts.assign import fetch_client_policy, give_policy
from metering_service.api.auth import KEY, for_keys
from metering_service.api.policy_schemas import (
    AssignPolicySchema,
    ClientPolicySchema,
    PoliciesSchema,
    PolicyHistorySchema,
    PolicyIdSchema,
    PutPolicyResultSchema,
    PutPolicySchema,
)
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    PAGE_PARAMETERS,
    UNKNOWN_CLIENT,
    WRONG_PAGE,
    describe_identifier,
    describe_missing,
    describe_wrong_field,
    parse_id,
    read_identifier,
    read_page,
    respond,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.errors import (
    ClientNotFound,
    NothingBooked,
    PolicyNotBegun,
    PolicyNotFound,
    UnknownPolicy,
)
from metering_service.policies.administer import cancel_version, fetch_history, list_current, put_version
from metering_service.policies.policy import PolicyVersion
from metering_service.policies.schema import make_policy
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success
from service_chassis.schema.fields import REQUIRED

_POLICY = PutPolicySchema()
_ASSIGN_POLICY = AssignPolicySchema()


@for_keys("admin")
async def put_policy(request: web.Request) -> web.Response:
    """PUT /internal/policies/{policyId}."""
    policy_id = read_identifier(request, "policyId")
    terms = await read_body(request, _POLICY)
    version, warnings = await put_version(
        request.app[COMPONENTS].pool,
        policy_id,
        make_policy(terms),
        effective_at=terms["effective_at"],
        actor=request[KEY].name,
    )
    return respond({**version.as_document(), "warnings": warnings})


@for_keys("admin")
async def cancel_booked_version(request: web.Request) -> web.Response:
    """DELETE /internal/policies/{policyId}/booked."""
    policy_id = read_identifier(request, "policyId")
    await cancel_version(request.app[COMPONENTS].pool, policy_id, actor=request[KEY].name)
    return respond({"policyId": policy_id})


@for_keys("admin")
async def list_policies(request: web.Request) -> web.Response:
    """GET /internal/policies."""
    limit, (after,) = read_page(read_query(request, PAGE_PARAMETERS), ("",), parse_id)
    page = await list_current(request.app[COMPONENTS].pool, after, limit)
    return respond_page("policies", page, PolicyVersion.as_document, lambda last: (last.policy_id,))


@for_keys("admin")
async def get_policy(request: web.Request) -> web.Response:
    """GET /internal/policies/{policyId}."""
    present, versions = await fetch_history(request.app[COMPONENTS].pool, read_identifier(request, "policyId"))
    history = [version.as_document() for version in versions]
    return respond({**present.as_document(), "history": history})


@for_keys("admin")
async def assign_policy(request: web.Request) -> web.Response:
    """PUT /internal/clients/{clientId}/policy."""
    client_id = read_identifier(request, "clientId")
    terms = await read_body(request, _ASSIGN_POLICY)
    assigned = await give_policy(request.app[COMPONENTS].pool, client_id, **terms, actor=request[KEY].name)
    return respond(assigned)


@for_keys("admin")
async def get_client_policy(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/policy."""
    found = await fetch_client_policy(request.app[COMPONENTS].pool, read_identifier(request, "clientId"))
    return respond(found)


_POLICY_EXAMPLE = {
    "rates": [
        {
            "name": "per minute",
            "limit": 60,
            "periodSeconds": 60,
            "burst": 100,
            "per": "client",
            "eventTypes": ["*"],
        }
    ],
    "quotas": [
        {
            "name": "monthly tokens",
            "limit": 1_000_000,
            "counts": "units",
            "period": "month",
            "anchor": "calendar",
            "per": "client",
            "eventTypes": ["llm.tokens"],
            "overage": 0,
        }
    ],
    "prices": {"plan_play.created": 1, "plan_play.completed": 1, "llm.tokens": 2, "*": 0},
    "credits": "prepaid",
    "mode": "enforce",
    "notices": [{"of": "quota:monthly tokens", "at": [0.8, 1.0]}, {"of": "balance", "at": [100, 10]}],
}
_VERSION_EXAMPLE = {
    "policyId": "starter",
    "version": 2,
    "createdAt": "2026-07-01T09:00:00Z",
    "effectiveAt": "2026-07-01T09:00:00Z",
    **_POLICY_EXAMPLE,
}
_POLICY_ID = describe_identifier("policyId", "The policy's id.")
_NOT_BEGUN = Failure("A client would have the policy before any version is in force.", PolicyNotBegun("starter"))
_CLIENT_POLICY_EXAMPLE = {
    "clientId": "demo",
    "policyId": "trial",
    "from": "2026-07-01T09:00:00Z",
    "until": "2026-08-01T00:00:00Z",
    "shadow": None,
    "booked": [{"policyId": "starter", "from": "2026-08-01T00:00:00Z", "until": None, "shadow": None}],
    "past": [],
}

ENDPOINTS = (
    Endpoint(
        "PUT",
        "/internal/policies/{policyId}",
        put_policy,
        summary="Create or change a policy",
        description="Each change is a new version, the same terms again are none. In force from the next decision, "
        "or from `effectiveAt` on, in the place of what was booked before. `warnings` names what may be a mistake: "
        "event types that were never charged, with the one that is most alike.",
        tag="policies",
        parameters=(_POLICY_ID,),
        body=PutPolicySchema,
        body_examples={"All gates": _POLICY_EXAMPLE, "No gate at all": {"prices": {"*": 0}}},
        responses={200: Success("The version.", PutPolicyResultSchema, {**_VERSION_EXAMPLE, "warnings": []})},
        failures=[describe_wrong_field("rates.0.limit", REQUIRED), _NOT_BEGUN, *ADMIN_KEY],
    ),
    Endpoint(
        "DELETE",
        "/internal/policies/{policyId}/booked",
        cancel_booked_version,
        summary="Cancel a booked version",
        description="Takes back the version that is to come into force later. The present one stays.",
        tag="policies",
        parameters=(_POLICY_ID,),
        responses={200: Success("It is cancelled.", PolicyIdSchema, {"policyId": "starter"})},
        failures=[describe_missing(NothingBooked("starter")), _NOT_BEGUN, *ADMIN_KEY],
    ),
    Endpoint(
        "GET",
        "/internal/policies",
        list_policies,
        summary="List policies",
        description="The current version of each, ordered by id, a page at a time; of a policy whose first "
        "version is booked, that one.",
        tag="policies",
        parameters=PAGE_PARAMETERS,
        responses={
            200: Success("Policies, by id.", PoliciesSchema, {"policies": [_VERSION_EXAMPLE], "nextCursor": None})
        },
        failures=[WRONG_PAGE, *ADMIN_KEY],
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
        failures=[describe_missing(PolicyNotFound("starter")), *ADMIN_KEY],
    ),
    Endpoint(
        "PUT",
        "/internal/clients/{clientId}/policy",
        assign_policy,
        summary="Assign a policy to a client",
        description="In force from the next decision, or from `from` on, until another one is; takes the place of "
        "what was booked for then or later. With `until` and `then` the client has another policy afterwards: a "
        "trial, a promotion, a downgrade at the month's end. A client that metering does not know is refused unless "
        "`create` is true.",
        tag="policies",
        parameters=(CLIENT_ID,),
        body=AssignPolicySchema,
        body_examples={
            "Assign": {"policyId": "starter"},
            "A trial": {"policyId": "trial", "until": "2030-01-01T00:00:00Z", "then": "starter", "create": True},
        },
        responses={200: Success("The client's policies.", ClientPolicySchema, _CLIENT_POLICY_EXAMPLE)},
        failures=[
            describe_wrong_field("from", "Must not be in the past."),
            Failure("There is no such policy, or no such client.", UnknownPolicy("starter"), ClientNotFound("demo")),
            _NOT_BEGUN,
            *ADMIN_KEY,
        ],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/policy",
        get_client_policy,
        summary="Get a client's policy",
        description="The present one, those that are booked, and the past ones.",
        tag="policies",
        parameters=(CLIENT_ID,),
        responses={200: Success("The client's policies.", ClientPolicySchema, _CLIENT_POLICY_EXAMPLE)},
        failures=[UNKNOWN_CLIENT, *ADMIN_KEY],
    ),
)
