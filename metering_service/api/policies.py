"""Policies and who has which."""

from typing import Any

from aiohttp import web

from metering_service.accounts.account import UnknownPolicy
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_PAGE,
    answer,
    identifier,
    read_identifier,
    read_limit,
    refuse_callers,
    refuse_field,
    refuse_unknown,
)
from metering_service.api.schemas import (
    AssignmentRequest,
    AssignmentSchema,
    PoliciesResponse,
    PolicyHistoryResponse,
    PolicySchema,
    PolicyVersionSchema,
)
from metering_service.components import METERING
from metering_service.policies.policy import Policy, PolicyVersion, Quota, Rate
from service_chassis.errors import Conflict, NotFound
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Answer, Endpoint, Refusal

_POLICY = PolicySchema()
_ASSIGNMENT = AssignmentRequest()


async def put_policy(request: web.Request) -> web.Response:
    """PUT /internal/policies/{policyId}."""
    metering = request.app[METERING]
    scope = metering.service_keys.authenticate(request, "admin")
    policy_id = read_identifier(request, "policyId")
    policy = read_policy(await read_body(request, _POLICY))
    return answer(render_version(await metering.administer.put_policy(policy_id, policy, actor=f"key:{scope}")))


async def list_policies(request: web.Request) -> web.Response:
    """GET /internal/policies."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    limit = read_limit(request)
    cursor = request.query.get("cursor")
    after = metering.cursors.open(cursor, ["policies"])[0] if cursor is not None else ""
    versions = await metering.policies.list_current(after, limit)
    more = metering.cursors.seal([versions[-1].policy_id], ["policies"]) if len(versions) == limit else None
    return answer({"policies": [render_version(version) for version in versions], "nextCursor": more})


async def get_policy(request: web.Request) -> web.Response:
    """GET /internal/policies/{policyId}."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    versions = await metering.policies.list_versions(read_identifier(request, "policyId"))
    if not versions:
        raise NotFound("Policy not found")
    history = [render_version(version) for version in versions]
    return answer({**history[0], "history": history})


async def assign_policy(request: web.Request) -> web.Response:
    """PUT /internal/clients/{clientId}/policy."""
    metering = request.app[METERING]
    scope = metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    policy_id = (await read_body(request, _ASSIGNMENT))["policy_id"]
    await metering.administer.assign_policy(client_id, policy_id, actor=f"key:{scope}")
    return answer({"clientId": client_id, "policyId": policy_id})


def read_policy(loaded: dict[str, Any]) -> Policy:
    """Make a policy of what PolicySchema loaded."""
    return Policy(
        rate=Rate(**loaded["rate"]) if loaded["rate"] else None,
        quota=Quota(**loaded["quota"]) if loaded["quota"] else None,
        prices=loaded["prices"],
        credits=loaded["credits"],
        mode=loaded["mode"],
    )


def render_version(version: PolicyVersion) -> dict[str, Any]:
    """Render one version of a policy, as PolicyVersionSchema says."""
    rate, quota = version.policy.rate, version.policy.quota
    return {
        "policyId": version.policy_id,
        "version": version.version,
        "createdAt": version.created_at,
        "rate": {"limit": rate.limit, "periodSeconds": rate.period_seconds, "burst": rate.burst} if rate else None,
        "quota": {"limit": quota.limit, "period": quota.period} if quota else None,
        "prices": dict(version.policy.prices),
        "credits": version.policy.credits,
        "mode": version.policy.mode,
    }


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
_ADMIN = refuse_callers("admin")
_POLICY_ID = identifier("policyId", "The policy's id.")
_NOT_FOUND = refuse_unknown("Policy not found")

ENDPOINTS = (
    Endpoint(
        "PUT",
        "/internal/policies/{policyId}",
        put_policy,
        summary="Set the terms of a policy",
        description="Each change is a new version, the same terms again are none. In force from the next decision.",
        tag="policies",
        parameters=(_POLICY_ID,),
        body=PolicySchema,
        body_examples={"All three gates": _POLICY_EXAMPLE, "No gate at all": {"credits": "unlimited"}},
        answers={200: Answer("The current version.", PolicyVersionSchema, _VERSION_EXAMPLE)},
        refusals=[
            refuse_field("rate.limit", "Missing data for required field."),
            *_ADMIN,
            Refusal(
                "Changed by somebody else at the same moment.",
                Conflict("The policy was changed at the same time; read it and try again"),
            ),
        ],
    ),
    Endpoint(
        "GET",
        "/internal/policies",
        list_policies,
        summary="Current versions of all policies",
        description="Ordered by id, a page at a time.",
        tag="policies",
        parameters=PAGE_PARAMETERS,
        answers={
            200: Answer("Policies, by id.", PoliciesResponse, {"policies": [_VERSION_EXAMPLE], "nextCursor": None})
        },
        refusals=[WRONG_PAGE, *_ADMIN],
    ),
    Endpoint(
        "GET",
        "/internal/policies/{policyId}",
        get_policy,
        summary="One policy with its history",
        description="The current version, and all versions from the newest to the first.",
        tag="policies",
        parameters=(_POLICY_ID,),
        answers={
            200: Answer("The policy.", PolicyHistoryResponse, {**_VERSION_EXAMPLE, "history": [_VERSION_EXAMPLE]})
        },
        refusals=[_NOT_FOUND, *_ADMIN],
    ),
    Endpoint(
        "PUT",
        "/internal/clients/{clientId}/policy",
        assign_policy,
        summary="Give a client a policy",
        description="In force from the next decision. The client need not have been heard of.",
        tag="policies",
        parameters=(identifier("clientId", "The client's id."),),
        body=AssignmentRequest,
        body_examples={"Assign": {"policyId": "starter"}},
        answers={200: Answer("The assignment.", AssignmentSchema, {"clientId": "demo", "policyId": "starter"})},
        refusals=[
            refuse_field("policyId", "Missing data for required field."),
            Refusal("There is no such policy.", UnknownPolicy()),
            *_ADMIN,
        ],
    ),
)
