"""What the console's forms do: each asks before it acts, and every act is in the audit trail under the key's name."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.metering_service.conftest import Metering, event
from tests.metering_service.console_browser import listen
from tests.metering_service.console_visitor import Visitor, charge, flush_refusals, read_text


@pytest.fixture
async def visitor(metering: Metering) -> AsyncIterator[Visitor]:
    visitor = await Visitor(await listen(metering)).log_in()
    yield visitor
    await visitor.http.close()


async def test_a_grant_is_asked_about_first_then_given_once_under_the_keys_name(
    acme: Metering, visitor: Visitor
) -> None:
    address = "/console/clients/acme/grant"
    form = await visitor.get(address)
    wrong = await visitor.send(form, address, 400, credits="many", expires="2026-02-31")
    assert "Must be an integer from 1 to" in wrong
    assert "Must be a date and time that exists" in wrong
    assert "3 fields need another look" in wrong
    for credits in ("1,5", "1_0", "12 34", "1,500 000"):
        assert "Must be an integer from 1 to" in await visitor.send(form, address, 400, credits=credits, note="x")
    asked = await visitor.send(form, address, credits="1,500", note="Goodwill", expires="2026-05-01")
    assert "Grant 1,500 credits?" in asked
    assert (await acme.balance("acme"))[3] == 0
    for step in ("ask", "do"):
        past = await visitor.send(asked, address, 400, step=step, expires="2026-01-01")
        assert 'id="expires-fault">Must be a day to come.' in past
    for text in ("tomorrow", "2026-5-1"):
        odd = await visitor.send(asked, address, 400, step="ask", expires=text)
        assert 'id="expires-fault">Must be a day, such as 2027-01-31.' in odd
    changed = await visitor.send(asked, address, step="change")
    assert 'value="1,500"' in changed
    done = await visitor.send(asked, address, step="do")
    assert "Granted 1,500 credits to acme" in done
    assert "Granted 1,500" not in await visitor.get("/console/clients/acme")
    await visitor.send(asked, address, step="do")
    assert (await acme.balance("acme"))[3] == 1500
    back = await visitor.send(form, address, 400, credits="1,500", note="Goodwill", expires="2026-05-01")
    assert re.search("gave 1,500 credits at 2026-[0-9: -]*, and gives nothing again", back)
    again = await visitor.send(form, address, 400, credits="2", note="Another")
    assert "was used" in again
    [line] = await acme.fetch("SELECT actor, detail FROM admin_audit WHERE action = 'grant'")
    assert line["actor"] == "ops"
    assert "Goodwill" in line["detail"]


async def test_a_refund_is_asked_about_first_and_never_more_than_the_charge(acme: Metering, visitor: Visitor) -> None:
    await acme.admin("POST", "/internal/clients/acme/grants", {"grantId": "one", "credits": 10})
    bought = event(units=6)
    await charge(acme, bought)
    address = f"/console/clients/acme/events/{bought['eventId']}/refund"
    form = await visitor.get(address)
    assert "Must be at most 6" in await visitor.send(form, address, 400, credits="7", reason="Broken")
    assert "Must be" in await visitor.send(form, address, 400, reason="")
    asked = await visitor.send(form, address, credits="4", reason="Broken")
    assert "Refund 4 credits?" in asked
    assert "Refunded 4 credits to acme" in await visitor.send(asked, address, step="do")
    assert (await acme.balance("acme"))[3] == 8
    back = await visitor.send(form, address, 400, credits="4", reason="Broken")
    assert "gave 4 credits" in back
    assert "gives nothing again" in back
    rest = await visitor.send(await visitor.get(address), address, reason="The rest")
    await visitor.send(rest, address, step="do")
    assert "Nothing is left to refund" in await visitor.get(address)
    assert [line["actor"] for line in await acme.fetch("SELECT actor FROM admin_audit WHERE action = 'refund'")] == [
        "ops",
        "ops",
    ]


async def test_a_draft_is_replayed_against_what_was_charged_and_refused_before_it_is_in_force(
    metering: Metering, visitor: Visitor
) -> None:
    await metering.give("acme", grant=10)
    await charge(metering, *(event("acme") for _ in range(8)))
    await metering.authorize(*(event("acme", units=3) for _ in range(2)))
    await flush_refusals(metering)
    address = "/console/policies/of/of-acme/edit"
    form = await visitor.get(address)
    shown = read_text(
        await visitor.send(form, address, **{"price-1-credits": "3", "quota-0-name": "plays", "quota-0-limit": "2"})
    )
    assert "Price of plan_play.created 1 3 (changed)" in shown
    assert "Events charged 2 8 by what was in force" in shown
    assert "Credits 6 −2 against 8" in shown
    assert "Newly refused 6 events" in shown
    assert "6 by quota “plays”" in shown
    assert "Rates are not replayed" in shown
    cheap = read_text(await visitor.send(form, address, **{"price-1-credits": "0"}))
    assert "Newly passing 2 attempts" in cheap
    versions = await metering.fetch("SELECT version FROM policy_version WHERE policy_id = 'of-acme'")
    assert [row["version"] for row in versions] == [1]


async def test_a_version_is_put_in_force_or_booked_and_the_history_says_what_it_changed(
    acme: Metering, visitor: Visitor
) -> None:
    address = "/console/policies/of/of-acme/edit"
    shown = await visitor.send(await visitor.get(address), address, **{"price-1-credits": "4"})
    done = read_text(await visitor.send(shown, address, step="do"))
    assert "Version 2 of of-acme is in force now." in done
    assert "Price of plan_play.created: 1 → 4" in done
    later = await visitor.send(await visitor.get(address), address, effective="2026-05-01", mode="shadow")
    assert "Book this version" in later
    assert "booked" in read_text(await visitor.send(later, address, step="do"))
    for step in ("preview", "do"):
        form = await visitor.get(address)
        past = await visitor.send(form, address, 400, step=step, effective="2026-01-01")
        assert 'id="effective-fault">Must not be in the past.' in past
    assert {
        row["actor"] for row in await acme.fetch("SELECT actor FROM admin_audit WHERE action = 'put_policy'")
    } == {"ops"}


async def test_a_new_policy_is_made_of_every_kind_of_term(metering: Metering, visitor: Visitor) -> None:
    address = "/console/policies/new"
    form = await visitor.get(address)
    wrong = await visitor.send(
        form, address, 400, policyId="", **{"rate-0-name": "fast", "price-0-credits": "-1", "quota-1-limit": "x"}
    )
    for name in ("policyId", "rate-0-limit", "price-0-credits", "quota-0-name", "quota-0-limit"):
        assert f'id="{name}-fault"' in wrong, name
    fields = {
        "policyId": "tokens",
        "price-0-type": "llm.tokens",
        "price-0-credits": "2",
        "quota-1-name": "monthly tokens",
        "quota-1-limit": "1,000,000",
        "quota-1-counts": "units",
        "quota-1-types": "llm.tokens, llm.images",
        "quota-1-overage": "unlimited",
        "rate-0-name": "per minute",
        "rate-0-limit": "60",
        "rate-0-period": "60",
        "rate-0-burst": "100",
        "rate-0-per": "user",
        "notice-0-measure": "quota:monthly tokens",
        "notice-0-thresholds": "0.8, 1",
        "notice-1-measure": "balance",
        "notice-1-thresholds": "1,000 -20",
        "credits": "overdraft",
        "overdraft": "50",
    }
    shown = await visitor.send(form, address, **fields)
    assert "There is nothing to replay" in shown
    await visitor.send(shown, address, step="do")
    terms = await metering.admin("GET", "/internal/policies/tokens")
    assert terms["prices"] == {"llm.tokens": 2}
    assert terms["credits"] == {"overdraft": 50}
    assert terms["quotas"] == [
        {"name": "monthly tokens", "limit": 1_000_000, "counts": "units", "period": "month", "anchor": "calendar",
         "per": "client", "eventTypes": ["llm.tokens", "llm.images"], "overage": "unlimited"}
    ]  # fmt: skip
    assert terms["rates"] == [
        {"name": "per minute", "limit": 60, "periodSeconds": 60, "burst": 100, "per": "user", "eventTypes": ["*"]}
    ]
    assert terms["notices"] == [
        {"of": "quota:monthly tokens", "at": [0.8, 1]},
        {"of": "balance", "at": [1000, -20]},
    ]
    same = await visitor.send(
        await visitor.get("/console/policies/of/tokens/edit"), "/console/policies/of/tokens/edit"
    )
    assert "(changed)" not in same


async def test_a_preview_warns_of_a_type_that_was_never_seen(acme: Metering, visitor: Visitor) -> None:
    await acme.admin("POST", "/internal/clients/acme/grants", {"grantId": "one", "credits": 10})
    await charge(acme, event())
    address = "/console/policies/of/of-acme/edit"
    shown = await visitor.send(await visitor.get(address), address, **{"price-1-type": "plan_play.create"})
    assert "plan_play.create: never charged so far, did you mean plan_play.created?" in shown


async def test_a_price_named_twice_is_refused_and_a_policy_that_the_form_cannot_hold_is_not_edited_here(
    acme: Metering, visitor: Visitor
) -> None:
    address = "/console/policies/of/of-acme/edit"
    twice = {"price-2-type": "plan_play.created", "price-2-credits": "9"}
    assert "Must not be named twice" in await visitor.send(await visitor.get(address), address, 400, **twice)
    for prices in ({"a, b": 1}, {f"type-{number}": 1 for number in range(150)}):
        limit = {"name": "odd", "limit": 1, "period": "day", "eventTypes": list(prices)[:1]}
        await acme.admin("PUT", "/internal/policies/odd", {"prices": prices, "quotas": [limit]})
        assert "terms that the form cannot hold" in await visitor.get("/console/policies/of/odd/edit", 409)


async def test_what_a_version_changed_in_notices_is_said_and_what_is_wrong_in_them_is_said_at_the_field(
    acme: Metering, visitor: Visitor
) -> None:
    address = "/console/policies/of/of-acme/edit"
    form = await visitor.get(address)
    for measure, thresholds, field in (
        ("balance", "0,8", "notice-0-thresholds"),
        ("balance", "", "notice-0-thresholds"),
        ("quota:nothing", "0.8", "notice-0-measure"),
    ):
        fields = {"notice-0-measure": measure, "notice-0-thresholds": thresholds}
        assert f'id="{field}-fault"' in await visitor.send(form, address, 400, **fields), fields
    shown = await visitor.send(form, address, **{"notice-0-measure": "balance", "notice-0-thresholds": "100 10"})
    assert "Notices of the balance – at 100, 10 (changed)" in read_text(shown)
    await visitor.send(shown, address, step="do")
    without = await visitor.send(
        await visitor.get(address), address, **{"notice-0-measure": "", "notice-0-thresholds": ""}
    )
    assert "Notices of the balance at 100, 10 gone" in read_text(without)


@pytest.mark.parametrize("effective", ["", "2026-05-01"])
async def test_what_somebody_changed_meanwhile_is_not_undone_by_an_older_form(
    acme: Metering, visitor: Visitor, effective: str
) -> None:
    address = "/console/policies/of/of-acme/edit"
    older = await visitor.get(address)
    previewed = await visitor.send(older, address, mode="shadow")
    other = await visitor.send(older, address, **{"price-1-credits": "9"}, effective=effective)
    await visitor.send(other, address, step="do")
    await visitor.send(other, address, step="do")  # sent twice, put once
    newest = (await acme.admin("GET", "/internal/policies/of-acme"))["history"]
    assert [version["version"] for version in newest] == [2, 1]
    for form, step in ((previewed, "do"), (older, "preview")):
        asked = await visitor.send(form, address, 400, step=step)
        assert "Changed meanwhile: version 2 was made" in asked
    assert (await acme.admin("GET", "/internal/policies/of-acme"))["history"] == newest
    again = await visitor.send(asked, address)
    assert "Version" in await visitor.send(again, address, step="do")


async def test_a_new_policy_is_none_that_is_there(acme: Metering, visitor: Visitor) -> None:
    form = await visitor.get("/console/policies/new")
    assert "edit that one" in await visitor.send(form, "/console/policies/new", 400, policyId="of-acme")
