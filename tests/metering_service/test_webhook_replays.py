"""What a receiver does not take is tried for days, then put aside, and sent again when an operator says so."""

from datetime import timedelta

import orjson

from metering_service.audit.run import audit_ledger
from metering_service.notices.send import ATTEMPT_SECONDS, RETRY_AFTER_SECONDS, choose_pause
from metering_service.notices.webhook_store import LEASE_SECONDS
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.webhook_receiver import LOOPBACK, WebhookReceiver
from tests.metering_service.webhooks import command, send, states, tell, until


async def test_what_fails_is_tried_for_three_days_then_given_up_and_sent_when_it_is_replayed(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    await tell(metering)
    receiver.status = 503
    begun = clock.now
    for attempt, pause in enumerate(RETRY_AFTER_SECONDS, 1):
        await send(metering, receiver, clock, rounds=2)  # nothing is due in the second
        assert (len(receiver.came), await states(metering)) == (attempt, [("crm", "waiting", attempt)])
        clock.advance(seconds=pause * 1.21)
    assert timedelta(days=2) < clock.now - begun < timedelta(days=4)
    metrics = (await send(metering, receiver, clock)).render().decode()
    assert 'metering_webhooks_failed_total{kind="status",receiver="crm"} 1.0' in metrics
    assert await states(metering) == [("crm", "dead", 10)]
    clock.advance(days=30)
    await send(metering, receiver, clock)
    [webhook] = (await metering.admin("GET", "/internal/webhooks?state=dead"))["webhooks"]
    assert (len(receiver.came), webhook["lastError"]) == (10, "status 503")
    async with open_pool(metering.dsn, size=1, application_name="audit") as pool:
        report = await audit_ledger(pool, now=clock(), unresolved_after_seconds=0)
    assert (report.is_sound, [finding.rule for finding in report.unfinished]) == (True, ["webhook_dead"])
    receiver.status = 200
    done = await command(metering, receiver, "replay", "--dead", "--json")
    assert orjson.loads(done.output) == {"webhooks": 1}
    await send(metering, receiver, clock)
    assert await states(metering) == [("crm", "delivered", 0)]
    assert len({told["id"] for told in receiver.events}) == 1
    actions = await metering.fetch("SELECT action FROM admin_audit WHERE action LIKE 'replay%'")
    assert [row["action"] for row in actions] == ["replay_dead_webhooks"]


def test_pauses_are_jittered_bounded_and_end() -> None:
    for attempts, seconds in enumerate(RETRY_AFTER_SECONDS, 1):
        pauses = [choose_pause(attempts, chance) for chance in (0.0, 0.5, 1.0)]
        assert pauses == [timedelta(seconds=seconds * factor) for factor in (0.8, 1.0, 1.2)]
    assert choose_pause(len(RETRY_AFTER_SECONDS) + 1, 0.5) is None
    assert LEASE_SECONDS > 2 * ATTEMPT_SECONDS


async def test_a_receiver_that_says_gone_is_not_asked_again(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    await tell(metering)
    receiver.status = 410
    await send(metering, receiver, clock)
    assert await states(metering) == [("crm", "dead", 1)]


async def test_a_notice_goes_through_the_calls_of_the_admin_api(
    start_metering: StartMetering, receiver: WebhookReceiver
) -> None:
    metering = await start_metering()
    await tell(metering, notices=3)
    listed = await metering.admin("GET", "/internal/webhooks?clientId=acme&limit=2")
    assert [(each["receiver"], each["state"]) for each in listed["webhooks"]] == [(None, "unsent")] * 2
    rest = await metering.admin("GET", f"/internal/webhooks?limit=2&cursor={listed['nextCursor']}")
    assert (len(rest["webhooks"]), rest["nextCursor"]) == (1, None)
    assert (await metering.admin("GET", "/internal/webhooks?clientId=other"))["webhooks"] == []
    notice_id = rest["webhooks"][0]["noticeId"]
    path = f"/internal/notices/{notice_id}/replay"
    assert (await metering.call("POST", path, {}, key=ADMIN_KEY))[0] == 404  # nobody to send it to
    later = await start_metering(webhooks=(receiver.as_setting(),), webhook_networks=LOOPBACK)
    await receiver.wait_for(3)  # what was written before anybody was there to hear it
    await until(later, 3)
    answer = await later.call("POST", path, {"receiver": "crm"}, key=ADMIN_KEY, process=1)
    assert answer == (200, {"noticeId": notice_id, "receivers": ["crm"]})
    assert (await receiver.wait_for(4))[3]["id"] == notice_id
    answer = await later.call("POST", path, None, key=ADMIN_KEY, process=1)  # no body: to all
    assert answer == (200, {"noticeId": notice_id, "receivers": ["crm"]})
    for wrong, body, status in (
        (path, {"receiver": "crn"}, 404),
        ("/internal/notices/00000000-0000-0000-0000-000000000000/replay", {}, 404),
        ("/internal/notices/1/replay", {}, 400),
    ):
        assert (await later.call("POST", wrong, body, key=ADMIN_KEY, process=1))[0] == status


async def test_a_first_receiver_is_not_told_what_is_days_old(
    metering: Metering, receiver: WebhookReceiver, clock: MovableClock
) -> None:
    await tell(metering)
    clock.advance(days=4)
    await send(metering, receiver, clock)
    assert receiver.came == []
    [webhook] = (await metering.admin("GET", "/internal/webhooks?state=unsent"))["webhooks"]
    assert (await command(metering, receiver, "replay", webhook["noticeId"])).code == 0
    await send(metering, receiver, clock)
    assert len(receiver.came) == 1


async def test_operators_send_a_test_and_are_told_why_it_was_not_taken(
    metering: Metering, receiver: WebhookReceiver
) -> None:
    done = await command(metering, receiver, "send-test", "crm", "--json")
    assert done.code == 0, done.trace
    receiver.verify(0)
    assert receiver.events[0]["type"] == "metering.webhook.test"
    receiver.status = 401
    done = await command(metering, receiver, "send-test", "crm")
    assert (done.code, done.trace.strip()) == (1, "metering_service: crm did not take it: status 401")
    done = await command(metering, receiver, "send-test", "chat")
    assert (done.code, done.trace.strip()) == (1, "metering_service: METERING_WEBHOOKS names no receiver chat")
    done = await command(metering, receiver, "replay")
    assert (done.code, done.output) == (1, "")
    done = await command(metering, receiver, "list")
    assert (done.code, done.output) == (0, "none\n")
