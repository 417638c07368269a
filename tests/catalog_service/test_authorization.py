"""Whom a token lets in, and what everybody else is told."""

from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from catalog_service.components import COMPONENTS
from catalog_service.plans.import_file import ImportPlans
from tests.catalog_service.catalog import PLAN, PLAN_CALLS, UNAUTHORIZED, Catalog

HEADER = {"typ": "at+jwt"}


def claims_for(catalog: Catalog, **changed: Any) -> dict[str, Any]:
    now = int(catalog.clock().timestamp())
    claims = {
        "iss": "catalog_service",
        "aud": "plans-api",
        "iat": now,
        "exp": now + 900,
        "jti": "1",
        "sub": "acme",
        "client_id": "acme",
        "scope": "plans plan_plays",
    }
    return {name: value for name, value in {**claims, **changed}.items() if value is not None}


FORGED: dict[str, Callable[[Catalog], dict[str, Any]]] = {
    "of another audience": lambda catalog: claims_for(catalog, aud="another-api"),
    "of another issuer": lambda catalog: claims_for(catalog, iss="somebody"),
    "expired": lambda catalog: claims_for(catalog, exp=int(catalog.clock().timestamp())),
    "from the future": lambda catalog: claims_for(catalog, iat=int(catalog.clock().timestamp()) + 60),
    "without an expiry": lambda catalog: claims_for(catalog, exp=None),
    "without the scope": lambda catalog: claims_for(catalog, scope="plan_plays"),
    "of an unknown client": lambda catalog: claims_for(catalog, sub="nobody", client_id="nobody"),
    "without a client": lambda catalog: claims_for(catalog, client_id=None),
}


async def everywhere(catalog: Catalog, headers: dict[str, str]) -> list[Any]:
    return [(await catalog.call(path, b"{not even JSON", headers=headers))[1] for path in PLAN_CALLS]


async def test_a_token_with_a_wrong_claim_is_refused(catalog: Catalog) -> None:
    await catalog.register("acme")
    kid, key = await catalog.app[COMPONENTS].key_ring.signer()
    for fault, claims in FORGED.items():
        token = jwt.encode(claims(catalog), key, "ES256", headers={**HEADER, "kid": kid})
        assert await everywhere(catalog, {"Authorization": f"Bearer {token}"}) == [UNAUTHORIZED] * 3, fault


async def test_a_token_made_right_is_accepted(catalog: Catalog) -> None:
    await catalog.register("acme")
    kid, key = await catalog.app[COMPONENTS].key_ring.signer()
    token = jwt.encode(claims_for(catalog), key, "ES256", headers={**HEADER, "kid": kid})
    assert await catalog.plans(token) == []


async def test_a_request_without_a_readable_token_is_refused(catalog: Catalog) -> None:
    assert await everywhere(catalog, {}) == [UNAUTHORIZED] * 3
    for credential in ("", "Bearer", "Bearer ", "Bearer x.y.z", "Basic YTpi", "Bearer \xff", "Bearer " + "a" * 5000):
        assert await everywhere(catalog, {"Authorization": credential}) == [UNAUTHORIZED] * 3


async def test_a_token_signed_by_somebody_else_is_refused(catalog: Catalog) -> None:
    await catalog.register("acme")
    kid, _ = await catalog.app[COMPONENTS].key_ring.signer()
    stranger = ec.generate_private_key(ec.SECP256R1())
    for header in ({**HEADER, "kid": kid}, {**HEADER, "kid": "unknown"}, HEADER):
        token = jwt.encode(claims_for(catalog), stranger, "ES256", headers=header)
        assert await everywhere(catalog, {"Authorization": f"Bearer {token}"}) == [UNAUTHORIZED] * 3


async def test_a_token_ends_with_its_lifetime(catalog: Catalog) -> None:
    token = await catalog.token()
    catalog.clock.move(seconds=899)
    assert await catalog.plans(token) == []
    catalog.clock.move(seconds=1)
    assert await catalog.call("/get-plans", token=token) == (403, UNAUTHORIZED)


async def test_a_disabled_client_is_out_at_once_and_in_again_when_enabled(catalog: Catalog) -> None:
    token = await catalog.token("acme")
    assert await catalog.plans(token) == []
    await catalog.operator.change("acme", disabled=True, actor="ops")
    for path in PLAN_CALLS:
        assert await catalog.call(path, {}, token) == (403, UNAUTHORIZED)
    await catalog.operator.change("acme", disabled=False, actor="ops")
    assert await catalog.plans(token) == []


async def test_no_call_reaches_another_clients_plan(catalog: Catalog) -> None:
    mine, theirs = await catalog.token("acme"), await catalog.token("other")
    plan = await catalog.sync(mine, **PLAN)
    refused = (404, {"statusCode": 404, "data": {}, "message": "Plan not found"})
    reference = {"plan_id": plan["plan_id"]}
    assert await catalog.plans(theirs) == []
    assert await catalog.plans(theirs, "col-1") == []
    assert await catalog.call("/get-plan-details", reference, theirs) == refused
    assert await catalog.call("/sync-plan", {**reference, "color": "red"}, theirs) == refused
    assert await catalog.call("/sync-plan", {**reference, "is_delete": True}, theirs) == refused
    assert await catalog.plans(mine) == [plan]


async def test_two_clients_may_have_plans_of_one_id(catalog: Catalog) -> None:
    for client_id in ("acme", "other"):
        await catalog.register(client_id, secret=f"{client_id}-secret-of-a-test")
        await ImportPlans(catalog.serving_pool).write(
            client_id, [{**PLAN, "plan_id": "p", "plan_name": client_id}], actor="tests"
        )
    tokens = [await catalog.token(client_id, f"{client_id}-secret-of-a-test") for client_id in ("acme", "other")]
    await catalog.sync(tokens[0], plan_id="p", is_delete=True)
    assert await catalog.plans(tokens[0]) == []
    assert [plan["plan_name"] for plan in await catalog.plans(tokens[1])] == ["other"]
