"""Which ids, names and notes there can be: the same everywhere, and none that a path or a terminal trips over."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.metering_service.conftest import ADMIN_KEY, Metering, event
from tests.metering_service.console_browser import listen
from tests.metering_service.console_visitor import Visitor
from tests.operator_command import run_command

STRANGE = ("a/b", "a%2Fb", "a%b", "a?b", "a#b", "a b", "-x", "--help", "é", "😀", "...", "a;b", "<b>")
WRONG = ("a\nb", "a\rb", "a\x1bb", "a\tb", "\u202ea")
TERMS = {"limit": 5, "period": "day"}


async def refuse(metering: Metering, method: str, path: str, body: Any) -> Any:
    status, document = await metering.call(method, path, body, key=ADMIN_KEY)
    assert status == 400, document
    return document


async def test_a_client_of_any_printable_id_is_found_by_the_api_the_console_and_commands(
    metering: Metering, subtests: pytest.Subtests
) -> None:
    visitor = await Visitor(await listen(metering)).log_in()
    for client_id in STRANGE:
        with subtests.test(client_id=client_id):
            path = quote(client_id, safe="")
            await metering.admin("PUT", f"/internal/policies/{path}", {"prices": {"*": 1}, "credits": "prepaid"})
            await metering.admin("PUT", f"/internal/clients/{path}/policy", {"policyId": client_id, "create": True})
            address = f"/console/clients/{path}/grant"
            asked = await visitor.send(await visitor.get(address), address, credits="5", note="x", grantId=client_id)
            await visitor.send(asked, address, step="do")
            bought = event(client_id, eventId=client_id)
            [decision] = await metering.authorize(bought)
            assert decision["decision"] == "granted"
            await metering.settle_by_ids(bought)
            assert "Refund this charge" in await visitor.get(f"/console/clients/{path}/events/{path}")
            assert "Version 1" in await visitor.get(f"/console/policies/of/{path}")
            done = await run_command("metering", metering.dsn, "balance", "--json", "--", client_id)
            assert '"available": 4' in done.output, done
    await visitor.http.close()


async def test_an_id_that_a_path_or_a_terminal_trips_over_is_refused(
    metering: Metering, subtests: pytest.Subtests
) -> None:
    for text in [*WRONG, ".", ".."]:
        with subtests.test(text=text):
            await metering.give("acme", grant=10)
            for wrong in ({"clientId": text}, {"eventId": text}, {"eventType": text}):
                [decision] = await metering.authorize(event("acme") | wrong)
                assert decision["decision"] == "invalid", wrong
            for field in ("grantId", "source"):
                body = {"grantId": "g", "credits": 1, field: text}
                answer = await refuse(metering, "POST", "/internal/clients/acme/grants", body)
                assert [each["field"] for each in answer["details"]] == [field]
            assert await metering.fetch("SELECT FROM credit_grant WHERE grant_id = 'g'") == []


async def test_a_name_of_a_policy_with_control_characters_is_refused_by_its_field(
    metering: Metering, subtests: pytest.Subtests
) -> None:
    for text in WRONG:
        with subtests.test(text=text):
            for terms, field in (
                ({"prices": {text: 1}}, "prices"),
                ({"prices": {"*": 1}, "quotas": [TERMS | {"name": text}]}, "quotas.0.name"),
                (
                    {"prices": {"*": 1}, "quotas": [TERMS | {"name": "q", "eventTypes": [text]}]},
                    "quotas.0.eventTypes",
                ),
            ):
                answer = await refuse(metering, "PUT", "/internal/policies/gold", terms)
                assert [each["field"] for each in answer["details"]] == [field]


async def test_a_note_may_have_lines_and_nothing_else_that_is_not_printable(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    two_lines = {"grantId": "lines", "credits": 1, "note": "one\ntwo"}
    await metering.admin("POST", "/internal/clients/acme/grants", two_lines)
    command = ("grant", "acme", "1", "--grant-id", "typed", "--note")
    assert (await run_command("metering", metering.dsn, *command, "one\ntwo")).code == 0
    assert (await run_command("metering", metering.dsn, *command, "a\x1bb")).code == 2
    await refuse(metering, "POST", "/internal/clients/acme/grants", two_lines | {"grantId": "e", "note": "a\x1bb"})


async def test_a_stored_policy_with_a_name_that_is_refused_today_still_decides(
    metering: Metering,
) -> None:
    await metering.give("acme", grant=10, quotas=[TERMS | {"name": "was"}])
    await metering.fetch("UPDATE policy_version SET terms = replace(terms::text, '\"was\"', '\"w\\na\"')::jsonb")
    [decision] = await metering.authorize(event("acme"))
    assert decision["decision"] == "granted"
