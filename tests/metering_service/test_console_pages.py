"""What the console's pages say."""

import re
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.metering_service.conftest import Metering, event
from tests.metering_service.console_browser import listen
from tests.metering_service.console_visitor import Visitor, charge, flush_refusals, read_text
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.webhooks import tell
from tests.operator_command import run_command


@pytest.fixture
async def visitor(metering: Metering) -> AsyncIterator[Visitor]:
    visitor = await Visitor(await listen(metering)).log_in()
    yield visitor
    await visitor.http.close()


def list_clients(page: str) -> list[str]:
    return re.findall(r'<a class="id" href="/console/clients/([^"/]+)">', page)


async def test_clients_are_found_by_any_part_of_their_id_and_paged(metering: Metering, visitor: Visitor) -> None:
    ids = [f"client-{number:02}" for number in range(28)]
    for client_id in (*ids, "other"):
        await metering.admin("PUT", f"/internal/clients/{client_id}/policy", {"policyId": "free", "create": True})
    first = await visitor.get("/console/clients?q=client-")
    assert list_clients(first) == ids[:25]
    [address] = re.findall(r'href="([^"]*cursor=[^"]*)"', first)
    assert list_clients(await visitor.get(address.replace("&amp;", "&"))) == ids[25:]
    assert list_clients(await visitor.get("/console/clients?q=client-1")) == ids[10:20]
    assert list_clients(await visitor.get("/console/clients?q=NT-1")) == ids[10:20]
    assert list_clients(await visitor.get("/console/clients?q=the")) == ["other"]
    for none in ("%25", "_", "%3Cb%3E", "a%0Ab"):
        assert list_clients(await visitor.get(f"/console/clients?q={none}")) == []
    assert "No client here has “<b>” in its id" in read_text(await visitor.get("/console/clients?q=%3Cb%3E"))


async def test_clients_are_sorted_by_spend_by_refusals_and_by_how_long_their_credits_last(
    metering: Metering, visitor: Visitor
) -> None:
    for client_id, credits, spends in (("slow", 1000, 2), ("quick", 10, 4), ("idle", 5, 0)):
        await metering.give(client_id, grant=credits)
        for _ in range(spends):
            await charge(metering, event(client_id))
    for _ in range(3):
        [refused] = await metering.authorize(event("idle", units=9))
        assert refused["decision"] == "denied"
    await flush_refusals(metering)
    assert list_clients(await visitor.get("/console/clients?sort=spend")) == ["quick", "slow"]
    assert list_clients(await visitor.get("/console/clients?sort=spend&q=LO")) == ["slow"]
    assert list_clients(await visitor.get("/console/clients?sort=refusals")) == ["idle"]
    assert list_clients(await visitor.get("/console/clients?sort=refusals&q=low")) == []
    ending = await visitor.get("/console/clients?sort=ending")
    assert list_clients(ending) == ["quick", "slow"]
    assert list_clients(await visitor.get("/console/clients?sort=ending&q=uic")) == ["quick"]
    assert "10 days left" in ending  # 6 available, 4 spent in 7 days


async def test_a_clients_page_shows_usage_balance_limits_and_decisions(
    metering: Metering, visitor: Visitor, clock: MovableClock
) -> None:
    await metering.give("acme", grant=100, quotas=[{"name": "plays", "limit": 10, "period": "month"}])
    await charge(metering, event("acme", units=3))
    clock.advance(days=1)
    await charge(metering, event("acme", units=5), event("acme", eventType="other"))
    page = read_text(await (await visitor.log_in()).get("/console/clients/acme"))
    assert "Available 92 0 held" in page
    assert "plays 2 of 10" in page  # of April
    assert "2026-04-01 0 0 5 92 2026-03-31 100 0 3 97" in page  # given, lost, spent, left
    assert "2026-04-01 1 1 2026-03-31 1 0" in page  # plan_play.created, other
    assert page.count("charged ") >= 3


async def test_a_charges_receipt_says_what_stood_before_and_which_grants_paid(
    acme: Metering, visitor: Visitor
) -> None:
    await acme.admin("POST", "/internal/clients/acme/grants", {"grantId": "small", "credits": 2, "priority": 1})
    await acme.admin("POST", "/internal/clients/acme/grants", {"grantId": "large", "credits": 50})
    bought = event(units=5)
    await charge(acme, bought)
    page = read_text(await visitor.get(f"/console/clients/acme/events/{bought['eventId']}"))
    assert "small 2 large 3" in page
    assert "Available credits credits – 52 5 47" in page
    assert "Refund this charge" in page
    found = read_text(await visitor.get(f"/console/decisions?event={bought['eventId']}"))
    assert "small 2 large 3" in found


async def test_a_refusals_receipt_says_which_limit_and_when_it_would_pass(
    metering: Metering, visitor: Visitor, clock: MovableClock
) -> None:
    quota = {"name": "daily plays", "limit": 1, "period": "day"}
    await metering.give("acme", quotas=[quota], credits="unlimited")
    await charge(metering, event("acme"))
    await metering.authorize(event("acme", userId="user-1"), event("acme", userId="user-1"))
    await flush_refusals(metering)
    page = await visitor.get("/console/clients/acme")
    [address] = re.findall(r'href="(/console/clients/acme/refusals/[^"]*)"', page)
    receipt = read_text(await visitor.get(address))
    assert "Quota exceeded for this period: daily plays" in receipt
    assert "daily plays refused it 1 1 1 –" in receipt
    assert "When its day ended, at 2026-04-01 00:00 UTC" in receipt
    assert "refused: quota In 7,200 s it passes." in receipt
    clock.advance(hours=3)
    assert "it would pass One unit" in read_text(await visitor.get(address))


async def test_a_refusal_that_no_wait_helps_says_so_and_what_the_event_would_have_taken(
    metering: Metering, visitor: Visitor
) -> None:
    quota = {"name": "monthly credits", "limit": 10, "counts": "credits", "period": "month", "overage": 2}
    await metering.give("acme", quotas=[quota], prices={"*": 5}, grant=100)
    await metering.authorize(event("acme", units=3))
    await flush_refusals(metering)
    page = await visitor.get("/console/clients/acme")
    [address] = re.findall(r'href="(/console/clients/acme/refusals/[^"]*)"', page)
    receipt = read_text(await visitor.get(address))
    assert "monthly credits refused it 10 0 15 –" in receipt
    assert "Never: it is more than monthly credits allows in a whole month." in receipt


async def test_a_held_event_is_found_with_its_client_and_an_unknown_one_is_not(
    acme: Metering, visitor: Visitor
) -> None:
    held = event(eventType="other")
    await acme.authorize(held)
    assert "If it is held, say whose" in await visitor.get(f"/console/decisions?event={held['eventId']}")
    page = read_text(await visitor.get(f"/console/decisions?event={held['eventId']}&client=acme"))
    assert "Where it stands held" in page
    await acme.release(held)
    released = read_text(await visitor.get(f"/console/clients/acme/events/{held['eventId']}"))
    assert "Its hold was given back" in released


async def test_health_shows_decisions_holds_by_age_the_last_audit_and_the_last_changes(
    metering: Metering, visitor: Visitor, clock: MovableClock
) -> None:
    assert "No audit was run yet" in await visitor.get("/console/health")
    await metering.give("acme", credits="unlimited")
    await metering.authorize(event("acme"))
    clock.advance(minutes=7)
    await metering.authorize(event("acme"))
    assert (await run_command("metering", metering.dsn, "audit")).code == 0
    page = read_text(await visitor.get("/console/health"))
    assert "up to 1 s 1 up to 10 s 0 up to 1 min 0 up to 10 min 1 older 0" in page
    assert "sound every invariant holds" in page
    assert "granted" in page
    assert "ops assign policy acme" in page
    assert "audit ledger" in page


async def test_health_shows_webhooks_that_were_given_up(metering: Metering, visitor: Visitor) -> None:
    page = read_text(await visitor.get("/console/health"))
    assert "no receiver is configured" in page
    await tell(metering)
    await metering.fetch(
        "INSERT INTO webhook (receiver, notice_id, created_at, attempts, last_error, dead_at)"
        " SELECT 'crm', notice_id, utc_now(), 10, 'status 503', utc_now() FROM notice RETURNING notice_id"
    )
    assert "1 given up" in read_text(await visitor.get("/console/health"))


IDS = ["a/b", "ä ö", '"><script>alert(1)</script>', "100%", "a&b=c#d?e", "{{7*7}}", "'; DROP TABLE account; --"]


async def test_ids_of_any_kind_are_shown_and_linked_as_they_are(
    metering: Metering, visitor: Visitor, subtests: pytest.Subtests
) -> None:
    known: set[str] = set()
    for client_id in IDS:
        with subtests.test(client_id=client_id):
            odd = event(client_id, eventId=f"odd {client_id} {uuid.uuid4()}")
            await charge(metering, odd)
            page = await visitor.get("/console/clients")
            [address] = set(re.findall(r'href="(/console/clients/[^"/?]+)"', page)) - known
            known.add(address)
            assert "<script" not in page
            one = await visitor.get(address)
            assert "<script" not in one
            [receipt] = re.findall(r'href="(/console/clients/[^"]*/events/[^"]*)"', one)
            assert "Where it stands" in await visitor.get(receipt)
            asked = await visitor.send(
                await visitor.get(f"{address}/grant"), f"{address}/grant", credits="1", note=client_id
            )
            assert "Granted 1 credits" in await visitor.send(asked, f"{address}/grant", step="do")


async def test_what_stands_in_an_address_is_refused_as_a_page(visitor: Visitor) -> None:
    for path in ("/console/clients?cursor=x", "/console/clients/x?cursor=1", "/console/policies?cursor=%00"):
        async with visitor.http.get(visitor.origin + path) as response:
            assert response.status in (400, 404), path
            assert "<h1>" in await response.text()
