"""Who may do what, call by call: the table holds every route of every service, or the first test fails."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from catalog_service.clients.register import RegisterClients
from catalog_service.components import COMPONENTS
from metering_service.settings import SCOPES
from tests.security.house import KEYS, House

PAGES = {"/", "/openapi.json", "/docs", "/docs/{name}"}
"""Public in every service: they describe it and hold no data."""


@dataclass(frozen=True)
class Access:
    """What a call answers to those who may not make it.

    `others` are further ways to reach for what is another's, each as bearer ("client-b" or "client-a/user-2"),
    path, body and the status or a check of the answer.
    """

    body: dict[str, Any] | None = None
    public: bool = False
    keys: tuple[str, ...] = ()
    others: tuple[tuple[str, str, dict[str, Any] | None, Any], ...] = ()


def nothing(answer: Any) -> bool:
    """Tell whether a list is empty."""
    return bool(answer["data"] == [])


CLIENT_B, USER_2 = "client-b", "client-a/user-2"
PLAY = "/api/plan-plays/{id}"
USAGE, EVENTS = (f"/api/client/{{clientId}}/api-usage/{name}" for name in ("summary", "events"))
TABLE: dict[tuple[str, str, str], Access] = {
    ("catalog", "POST", "/generate-client-auth-token"): Access(public=True),
    ("catalog", "GET", "/.well-known/jwks.json"): Access(public=True),
    ("catalog", "POST", "/rotate-client-secret"): Access(public=True),
    ("catalog", "POST", "/get-plans"): Access(
        body={},
        others=(
            (CLIENT_B, "/get-plans", {}, nothing),
            (CLIENT_B, "/get-plans", {"collection_id": "col-1"}, nothing),
            (CLIENT_B, "/get-plans?client_id=client-a", {"client_id": "client-a"}, nothing),
        ),
    ),
    ("catalog", "POST", "/get-plan-details"): Access(
        body={"plan_id": "{plan_id}"}, others=((CLIENT_B, "/get-plan-details", {"plan_id": "{plan_id}"}, 404),)
    ),
    ("catalog", "POST", "/sync-plan"): Access(
        body={"plan_id": "{plan_id}", "color": "blue"},
        others=(
            (CLIENT_B, "/sync-plan", {"plan_id": "{plan_id}", "color": "blue"}, 404),
            (CLIENT_B, "/sync-plan", {"plan_id": "{plan_id}", "is_delete": True}, 404),
            (CLIENT_B, "/sync-plan", {"plan_id": "{plan_id}", "is_delete": True, "client_id": "client-a"}, 404),
        ),
    ),
    ("activity", "POST", "/api/plan-plays"): Access(
        body={"planId": "p"},
        others=(
            (CLIENT_B, "/api/plan-plays", {"planId": "p", "clientId": "client-a"}, 400),
            (USER_2, "/api/plan-plays", {"planId": "p", "userId": "user-1"}, 400),
        ),
    ),
    ("activity", "GET", "/api/plan-plays"): Access(
        others=(
            (CLIENT_B, "/api/plan-plays", None, nothing),
            (CLIENT_B, "/api/plan-plays?clientId=client-a", None, nothing),
            (CLIENT_B, "/api/plan-plays?clientId=client-a&limit=10", None, nothing),
            (CLIENT_B, "/api/plan-plays?userId=user-1", None, nothing),
            (USER_2, "/api/plan-plays", None, nothing),
            (USER_2, "/api/plan-plays?userId=user-1", None, nothing),
            (USER_2, "/api/plan-plays?userId=user-1&limit=10", None, nothing),
        ),
    ),
    ("activity", "GET", PLAY): Access(others=((CLIENT_B, PLAY, None, 403), (USER_2, PLAY, None, 403))),
    ("activity", "PATCH", PLAY): Access(
        body={"status": "ended"},
        others=(
            (CLIENT_B, PLAY, {"status": "ended"}, 403),
            (USER_2, PLAY, {"status": "ended"}, 403),
            (CLIENT_B, PLAY, {"currentLessonIndex": 1}, 403),
            (USER_2, PLAY, {"currentLessonIndex": 1}, 403),
        ),
    ),
    ("activity", "GET", USAGE): Access(others=((CLIENT_B, USAGE, None, 403), ("client-a/user-1", USAGE, None, 403))),
    ("activity", "GET", EVENTS): Access(
        others=(
            (CLIENT_B, EVENTS, None, 403),
            (CLIENT_B, f"{EVENTS}?clientId=client-b", None, 403),
            ("client-a/user-1", EVENTS, None, 403),
        ),
    ),
    ("metering", "POST", "/internal/events/authorize"): Access(body={"events": []}, keys=("events",)),
    ("metering", "POST", "/internal/events/settle"): Access(body={"events": []}, keys=("events",)),
    ("metering", "POST", "/internal/events/release"): Access(body={"holdIds": []}, keys=("events",)),
    ("metering", "GET", "/internal/events/{eventId}"): Access(keys=("events", "admin")),
    ("metering", "GET", "/internal/events"): Access(keys=("events", "admin")),
    ("metering", "GET", "/internal/charges"): Access(keys=("admin",)),
    ("metering", "PUT", "/internal/policies/{policyId}"): Access(body={}, keys=("admin",)),
    ("metering", "GET", "/internal/policies"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/policies/{policyId}"): Access(keys=("admin",)),
    ("metering", "DELETE", "/internal/policies/{policyId}/booked"): Access(keys=("admin",)),
    ("metering", "PUT", "/internal/clients/{clientId}/policy"): Access(body={"policyId": "free"}, keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/policy"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/usage"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/refusals"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/summary"): Access(keys=("events", "admin")),
    ("metering", "GET", "/internal/clients/{clientId}/decisions"): Access(keys=("events", "admin")),
    ("metering", "GET", "/internal/clients/{clientId}/ledger/export"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/usage/export"): Access(keys=("admin",)),
    ("metering", "POST", "/internal/clients/{clientId}/grants"): Access(body={}, keys=("admin",)),
    ("metering", "POST", "/internal/clients/{clientId}/grants/{grantId}/void"): Access(body={}, keys=("admin",)),
    ("metering", "PUT", "/internal/clients/{clientId}/recurring-grants/{recurringId}"): Access(
        body={}, keys=("admin",)
    ),
    ("metering", "GET", "/internal/clients/{clientId}/recurring-grants"): Access(keys=("admin",)),
    ("metering", "POST", "/internal/clients/{clientId}/refunds"): Access(body={}, keys=("admin",)),
    ("metering", "GET", "/internal/policies/{policyId}/shadow-report"): Access(keys=("admin",)),
    ("metering", "POST", "/internal/clients/{clientId}/adjustments"): Access(body={}, keys=("admin",)),
    ("metering", "GET", "/internal/webhooks"): Access(keys=("admin",)),
    ("metering", "POST", "/internal/notices/{noticeId}/replay"): Access(body={}, keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/balance"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/quota"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/clients/{clientId}/ledger"): Access(keys=("admin",)),
    ("metering", "GET", "/internal/admin-audit"): Access(keys=("admin",)),
    ("catalog_admin", "POST", "/admin/clients"): Access(body={}, keys=("catalog",)),
    ("catalog_admin", "GET", "/admin/clients"): Access(keys=("catalog",)),
    ("catalog_admin", "GET", "/admin/clients/{client_id}"): Access(keys=("catalog",)),
    ("catalog_admin", "PATCH", "/admin/clients/{client_id}"): Access(body={}, keys=("catalog",)),
    ("catalog_admin", "GET", "/admin/clients/{client_id}/secrets"): Access(keys=("catalog",)),
    ("catalog_admin", "POST", "/admin/clients/{client_id}/secrets"): Access(body={}, keys=("catalog",)),
    ("catalog_admin", "DELETE", "/admin/clients/{client_id}/secrets/{secret_id}"): Access(keys=("catalog",)),
    ("catalog_admin", "GET", "/admin/audit"): Access(keys=("catalog",)),
}
# What a key of scope `admin` opens on metering's own port it opens on that of administration, and no other key does.
TABLE |= {
    ("metering_admin", method, path): replace(access, keys=("admin",))
    for (service, method, path), access in TABLE.items()
    if service == "metering" and "admin" in access.keys
}
SECURED = {call: access for call, access in TABLE.items() if not access.public}
UNAUTHENTICATED = {"catalog": 403, "activity": 401, "metering": 401, "catalog_admin": 401, "metering_admin": 401}


async def bearer_of(house: House, who: str) -> str:
    client_id, _, user_id = who.partition("/")
    return await house.token(client_id, user_id or None)


async def test_every_route_of_every_service_is_in_the_table(house: House) -> None:
    routed = {
        (service, route.method, route.resource.canonical)
        for service, app in house.apps.items()
        for route in app.router.routes()
        if route.resource is not None
        and route.resource.canonical not in PAGES
        and route.method != "HEAD"
        # The console's have walls of another kind: metering_service/test_console_walls.py has a table of them.
        and not route.resource.canonical.startswith("/console")
    }
    assert routed == set(TABLE)


async def test_without_a_credential_or_with_one_of_another_service_nothing_opens(house: House) -> None:
    token = await house.token()
    foreign = {
        "catalog": [*KEYS.values()],
        "activity": [*KEYS.values()],
        "metering": [token, KEYS["catalog"]],
        "catalog_admin": [token, KEYS["events"], KEYS["admin"]],
        "metering_admin": [token, KEYS["catalog"]],
    }
    for (service, method, path), access in SECURED.items():
        for bearer in (None, "", "a.b.c", *foreign[service]):
            status, answer = await house.call(service, method, path, bearer=bearer, body=access.body)
            assert status == UNAUTHENTICATED[service], (service, method, path, bearer, answer)


async def test_a_credential_of_another_scope_opens_nothing(house: House) -> None:
    scopes = {"catalog": "plan_plays", "activity": "plans plan_plays:all_clients"}
    for (service, method, path), access in SECURED.items():
        if access.keys:
            wrong = [KEYS[scope] for scope in SCOPES if scope not in access.keys and service != "catalog_admin"]
        else:
            wrong = [await house.token(scope=scope) for scope in (scopes[service], "", "admin", "PLANS PLAN_PLAYS")]
        for bearer in wrong:
            status, answer = await house.call(service, method, path, bearer=bearer, body=access.body)
            assert status == 403, (service, method, path, answer)


async def test_the_right_credential_is_let_in_everywhere(house: House) -> None:
    for (service, method, path), access in SECURED.items():
        right = [KEYS[scope] for scope in access.keys] or [await house.token()]
        for bearer in right:
            status, answer = await house.call(service, method, path, bearer=bearer, body=access.body)
            assert status not in (401, 403, 500), (service, method, path, answer)


async def test_what_is_anothers_stays_out_of_reach_and_as_it_was(house: House) -> None:
    play_before = await house.call("activity", "GET", PLAY, bearer=await house.token())
    plans_before = await house.call("catalog", "POST", "/get-plans", bearer=await house.token(), body={})
    assert all(access.others for access in SECURED.values() if not access.keys)
    for (service, method, _), access in SECURED.items():
        for who, path, body, expected in access.others:
            status, answer = await house.call(service, method, path, bearer=await bearer_of(house, who), body=body)
            check: Callable[[Any], bool] = expected if callable(expected) else lambda _: True
            wanted = 200 if callable(expected) else expected
            assert (status, check(answer)) == (wanted, True), (service, method, path, who, answer)
            assert house.names["id"] not in str(answer)
    assert await house.call("activity", "GET", PLAY, bearer=await house.token()) == play_before
    assert await house.call("catalog", "POST", "/get-plans", bearer=await house.token(), body={}) == plans_before


async def test_a_disabled_client_is_out_of_the_catalog_at_once(house: House) -> None:
    token = await house.token()
    assert (await house.call("catalog", "POST", "/get-plans", bearer=token, body={}))[0] == 200
    await RegisterClients(house.apps["catalog"][COMPONENTS].plans.pool).change("client-a", disabled=True, actor="ops")
    for (service, method, path), access in SECURED.items():
        if service == "catalog":
            status, _ = await house.call(service, method, path, bearer=token, body=access.body)
            assert status == 403
