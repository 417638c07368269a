"""Money in: a paid checkout is granted once, whoever else asks is not heard, and the ledger makes the invoice."""

import hashlib
import hmac
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from local_stack.processes import REPOSITORY
from tests.metering_service.conftest import ADMIN_KEY, Metering

EXAMPLES = REPOSITORY / "docs" / "examples"
SECRET = "whsec_of_the_tests"
NOW = 1_790_000_000


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paid(**session: Any) -> dict[str, Any]:
    """Make an event as Stripe sends it, of what matters here and a little more."""
    return {
        "id": "evt_1QkT2nLkdIwHu7ix",
        "object": "event",
        "api_version": "2025-08-27.basil",
        "created": NOW - 2,
        "type": "checkout.session.completed",
        "livemode": False,
        "data": {
            "object": {
                "id": "cs_test_a1b2c3",
                "object": "checkout.session",
                "amount_total": 5000,
                "client_reference_id": "newcomer",
                "currency": "eur",
                "mode": "payment",
                "payment_intent": "pi_3QkT2mLkdIwHu7ix0",
                "payment_status": "paid",
                **session,
            }
        },
    }


def sign(body: bytes, *, at: int = NOW, secret: str = SECRET) -> str:
    signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={'0' * 64},v1={signature},v0=ignored"


class Webhook:
    def __init__(self, client: "TestClient[Any, Any]") -> None:
        self._client = client

    async def send(self, event: dict[str, Any] | bytes, signature: str | None = None) -> tuple[int, str]:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        headers = {"Stripe-Signature": sign(body) if signature is None else signature}
        async with self._client.post("/webhooks/checkout", data=body, headers=headers) as response:
            return response.status, await response.text()


@pytest.fixture
async def webhook(metering_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Webhook]:
    for name, value in (
        ("METERING_URL", metering_url.rstrip("/")),
        ("METERING_KEY", ADMIN_KEY),
        ("WEBHOOK_SECRET", SECRET),
    ):
        monkeypatch.setenv(name, value)
    app = load("checkout_webhook").create_app(clock=lambda: float(NOW))
    async with TestClient(TestServer(app)) as client:
        yield Webhook(client)


async def grants_of(metering: Metering, client_id: str) -> list[tuple[str, int]]:
    balance = await metering.admin("GET", f"/internal/clients/{client_id}/balance")
    return [(grant["grantId"], grant["credits"]) for grant in balance["grants"]]


async def test_a_payment_is_granted_once_however_often_its_webhook_comes(
    webhook: Webhook, metering: Metering
) -> None:
    for event in (paid(), paid(), {**paid(), "type": "checkout.session.async_payment_succeeded"}):
        assert (await webhook.send(event))[0] == 200
    assert await grants_of(metering, "newcomer") == [("pi_3QkT2mLkdIwHu7ix0", 50_000)]


async def test_a_payment_that_is_not_confirmed_grants_nothing_until_it_is(
    webhook: Webhook, metering: Metering
) -> None:
    unpaid = paid(payment_status="unpaid", client_reference_id="acme")
    for event in (unpaid, {**unpaid, "type": "charge.refunded"}):
        assert await webhook.send(event) == (200, '{"granted": false}')
    assert len(await grants_of(metering, "acme")) == 1  # what the test began with
    later = {**paid(client_reference_id="acme"), "type": "checkout.session.async_payment_succeeded"}
    assert (await webhook.send(later))[0] == 200
    assert ("pi_3QkT2mLkdIwHu7ix0", 50_000) in await grants_of(metering, "acme")


async def test_what_the_provider_did_not_sign_is_not_heard(
    webhook: Webhook, metering: Metering, subtests: pytest.Subtests
) -> None:
    for signature in [
        "",
        "t=,v1=",
        "v1=abc",
        f"t={NOW},v1={'0' * 64}",
        sign(b"another body"),
        "t=1e9,v1=a",
        f"t={NOW},v1=\xfc",
        f"t={'9' * 5000},v1=a",
    ]:
        with subtests.test(signature=signature):
            assert (await webhook.send(paid(), signature))[0] == 400
            assert (await metering.call("GET", "/internal/clients/newcomer/balance", key=ADMIN_KEY))[0] == 404


async def test_an_old_webhook_or_anothers_secret_is_not_heard(webhook: Webhook, metering: Metering) -> None:
    body = json.dumps(paid()).encode()
    for signature in (sign(body, at=NOW - 301), sign(body, at=NOW + 301), sign(body, secret="another")):
        assert (await webhook.send(paid(), signature))[0] == 400
    assert (await webhook.send(paid(), sign(body, at=NOW - 299)))[0] == 200


async def test_a_payment_that_cannot_be_granted_is_told_to_the_provider(
    webhook: Webhook, metering: Metering, subtests: pytest.Subtests
) -> None:
    sessions: list[dict[str, Any]] = [
        {"currency": "usd"},
        {"client_reference_id": None},
        {"client_reference_id": 7},
        {"client_reference_id": "c" * 256},
        {"payment_intent": None},
        {"amount_total": None},
        {"amount_total": 0},
        {"amount_total": -5},
        {"amount_total": 10.5},
        {"amount_total": "5000"},
        {"amount_total": 10**15},
    ]
    for session in sessions:
        with subtests.test(session=session):
            assert (await webhook.send(paid(**session)))[0] == 422
            assert (await metering.call("GET", "/internal/clients/newcomer/balance", key=ADMIN_KEY))[0] == 404


async def test_what_is_signed_and_no_event_is_told_to_the_provider(
    webhook: Webhook, subtests: pytest.Subtests
) -> None:
    for body in [b"", b"{", b"[]", b"{}", b"\xff", b'{"type": "checkout.session.completed"}']:
        with subtests.test(body=body):
            assert (await webhook.send(body, sign(body)))[0] == 422


def test_without_a_secret_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can sign with an empty one."""
    monkeypatch.setenv("WEBHOOK_SECRET", "")
    with pytest.raises(SystemExit, match="WEBHOOK_SECRET"):
        load("checkout_webhook").create_app()


async def test_metering_that_is_away_has_the_webhook_sent_again(
    webhook: Webhook, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERING_KEY", "wrong")
    assert (await webhook.send(paid()))[0] == 502
    monkeypatch.setenv("METERING_KEY", ADMIN_KEY)
    assert (await webhook.send(paid()))[0] == 200
    assert len(await grants_of(metering, "newcomer")) == 1


async def test_every_line_of_the_ledger_is_in_one_invoice(
    metering: Metering, metering_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def charge(event_id: str, event_type: str, units: int, at: str) -> None:
        event = {"eventId": event_id, "clientId": "acme", "eventType": event_type, "units": units, "happenedAt": at}
        [result] = await metering.settle({"holdId": "0198f2a4-7c1e-7f3a-9d43-" + event_id.zfill(12), **event})
        assert result["state"] == "settled"

    async def invoice(after: int) -> dict[str, Any]:
        status, text = 0, ""
        path = f"/internal/clients/acme/ledger/export?format=ndjson&after={after}"
        async with metering.clients[0].get(path, headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as response:
            status, text = response.status, await response.text()
        assert status == 200
        made: dict[str, Any] = load("invoice").make_invoice("acme", map(json.loads, text.splitlines()), after)
        return made

    await charge("1", "llm.tokens", 150, "2026-10-31T23:59:00Z")
    await charge("2", "llm.tokens", 100, "2026-10-31T23:59:30Z")
    await charge("3", "plan_play.created", 1, "2026-11-01T00:00:00Z")
    first = await invoice(0)
    assert first["lines"] == [
        {"month": "2026-10", "kind": "spend", "eventType": "llm.tokens", "units": 250, "credits": 500},
        {"month": "2026-11", "kind": "spend", "eventType": "plan_play.created", "units": 1, "credits": 0},
    ]
    assert (first["credits"], first["cents"]) == (500, 50)
    assert (await invoice(first["lastEntryId"]))["lines"] == []

    await charge("4", "llm.tokens", 10, "2026-10-31T23:59:59Z")  # late: of a month that was invoiced
    await metering.admin(
        "POST", "/internal/clients/acme/refunds", {"refundId": "r", "eventId": "1", "credits": 40, "reason": "slow"}
    )
    second = await invoice(first["lastEntryId"])
    assert [(line["kind"], line["credits"]) for line in second["lines"]] == [("spend", 20), ("refund", -40)]
    assert (second["credits"], second["cents"]) == (-20, -2)
    assert second["lastEntryId"] > first["lastEntryId"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"METERING_URL": "http://127.0.0.1:1"}, "METERING_KEY must be set\n"),
        ({"METERING_KEY": "k"}, "METERING_URL must be set\n"),
        (
            {"METERING_URL": "http://127.0.0.1:1", "METERING_KEY": "k"},
            "METERING_URL: metering cannot be reached ([Errno 111] Connection refused)\n",
        ),
    ],
)
def test_an_invoice_that_cannot_be_made_says_why_in_one_line(variables: dict[str, str], said: str) -> None:
    command = [sys.executable, str(EXAMPLES / "invoice.py"), "acme", "0"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, said)
