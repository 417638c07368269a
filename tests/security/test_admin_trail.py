"""Whoever changes something over HTTP as an operator leaves a line with the name of the key, call by call."""

import uuid
from typing import Any

from tests.security.house import KEYS, House
from tests.security.test_access import TABLE

CHANGES: dict[tuple[str, str, str], tuple[dict[str, Any] | None, str]] = {
    ("catalog_admin", "POST", "/admin/clients"): ({"client_id": "new", "name": "New"}, "create_client"),
    ("catalog_admin", "PATCH", "/admin/clients/{client_id}"): ({"disabled": True}, "change_client"),
    ("catalog_admin", "POST", "/admin/clients/{client_id}/secrets"): ({}, "issue_secret"),
    ("catalog_admin", "DELETE", "/admin/clients/{client_id}/secrets/{secret_id}"): (None, "revoke_secret"),
    ("metering_admin", "PUT", "/internal/policies/{policyId}"): (
        {"prices": {"*": 0}, "effectiveAt": "2100-01-01T00:00:00Z"},
        "put_policy",
    ),
    ("metering_admin", "DELETE", "/internal/policies/{policyId}/booked"): (None, "cancel_booked_policy"),
    ("metering_admin", "PUT", "/internal/clients/{clientId}/policy"): (
        {"policyId": "free", "create": True},
        "assign_policy",
    ),
    ("metering_admin", "POST", "/internal/clients/{clientId}/grants"): ({"grantId": "g", "credits": 5}, "grant"),
    ("metering_admin", "POST", "/internal/clients/{clientId}/grants/{grantId}/void"): ({"reason": "r"}, "void"),
    ("metering_admin", "PUT", "/internal/clients/{clientId}/recurring-grants/{recurringId}"): (
        {"credits": 1, "every": "day", "startsAt": "2026-01-01T00:00:00Z", "expires": "never"},
        "put_recurring_grant",
    ),
    ("metering_admin", "POST", "/internal/clients/{clientId}/refunds"): (
        {"refundId": "r", "eventId": "{eventId}", "reason": "r"},
        "refund",
    ),
    ("metering_admin", "POST", "/internal/clients/{clientId}/adjustments"): (
        {"adjustmentId": "a", "credits": 1, "reason": "r"},
        "adjust",
    ),
}
"""Each changing call with a body that changes something, in an order in which each can, and what its line says."""

ELSEWHERE = {("metering_admin", "POST", "/internal/notices/{noticeId}/replay")}
"""It needs a receiver of webhooks: metering_service/test_webhook_replays.py."""

TRAILS = {"catalog_admin": "/admin/audit", "metering_admin": "/internal/admin-audit"}
SCOPE = {"catalog_admin": "catalog", "metering_admin": "admin"}


async def read_trail(house: House, service: str) -> list[dict[str, Any]]:
    status, answer = await house.call(service, "GET", f"{TRAILS[service]}?limit=1000", bearer=KEYS[SCOPE[service]])
    assert status == 200, answer
    entries: list[dict[str, Any]] = answer.get("data", answer)["entries"]
    return entries


async def charge(house: House, event_id: str) -> None:
    """Have the client of the paths spend a credit for an event."""
    client_id = house.names["clientId"]
    ids = {"clientId": client_id, "holdId": str(uuid.uuid4()), "eventId": event_id}
    for method, path, scope, body in (
        ("PUT", "/internal/policies/paid", "admin", {"prices": {"*": 1}, "credits": {"overdraft": 10}}),
        ("PUT", "/internal/clients/{clientId}/policy", "admin", {"policyId": "paid", "create": True}),
        ("POST", "/internal/events/authorize", "events", {"events": [{**ids, "eventType": "t"}]}),
        ("POST", "/internal/events/settle", "events", {"events": [ids]}),
    ):
        status, answer = await house.call("metering", method, path, bearer=KEYS[scope], body=body)
        assert status == 200, answer


def test_every_changing_call_of_administration_is_in_the_table() -> None:
    changing = {call for call in TABLE if call[0] in TRAILS and call[1] != "GET"}
    assert changing - ELSEWHERE == CHANGES.keys()


async def test_every_change_leaves_one_line_with_the_name_of_the_key(house: House) -> None:
    secrets = "/admin/clients/{client_id}/secrets"
    _, listed = await house.call("catalog_admin", "GET", secrets, bearer=KEYS["catalog"])
    secret_id = listed["data"]["secrets"][0]["secret_id"]
    # Not client-a: it has made plays by now, under a policy that this process remembers for a while.
    house.names |= {"secret_id": secret_id, "clientId": "payer", "grantId": "g", "eventId": "paid"}
    await charge(house, "paid")
    for (service, method, path), (body, action) in CHANGES.items():
        before = await read_trail(house, service)
        status, answer = await house.call(service, method, path, bearer=KEYS[SCOPE[service]], body=body)
        assert status == 200, (path, answer)
        line, *older = await read_trail(house, service)
        assert older == before
        assert (line["actor"], line["action"]) == (f"{SCOPE[service]}-caller", action), path


async def test_what_is_refused_leaves_no_line(house: House) -> None:
    before = {service: await read_trail(house, service) for service in TRAILS}
    for (service, method, path), (body, _) in CHANGES.items():
        for bearer in (None, KEYS["events"], await house.token()):
            status, _ = await house.call(service, method, path, bearer=bearer, body=body)
            assert status in (401, 403)
    assert {service: await read_trail(house, service) for service in TRAILS} == before
