"""Money in: a payment provider's webhook becomes a grant of credits, once for each payment.

    python docs/examples/checkout_webhook.py

reads WEBHOOK_SECRET, METERING_URL and METERING_KEY (scope `admin`), and listens on WEBHOOK_PORT. The payloads and the
signature are those of Stripe's Checkout; another provider's differ in `require_signature` and `read_payment`.
"""

import hashlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

CREDITS_PER_CENT = 10
"""What is sold: 1.00 EUR is 1,000 credits."""
CURRENCY = "eur"
TOLERANCE_SECONDS = 300
"""An older signature is not accepted: whoever overheard a webhook cannot send it again later."""
PAID = {"checkout.session.completed", "checkout.session.async_payment_succeeded"}
"""Both come for a payment that is confirmed later; the first one says `payment_status` unpaid then."""

SESSION = web.AppKey("session", aiohttp.ClientSession)
CLOCK = web.AppKey[Callable[[], float]]("clock")


@dataclass(frozen=True)
class Payment:
    """Who paid, and for how many credits. `payment_id` is the provider's, and names the grant."""

    payment_id: str
    client_id: str
    credits: int


async def take_webhook(request: web.Request) -> web.Response:
    """POST /webhooks/checkout: 200 once the grant stands; anything else has the provider send it again."""
    body = await request.read()  # as it came: what is signed are these bytes, not what they say
    require_signature(body, request.headers.get("Stripe-Signature", ""), request.app[CLOCK]())
    try:
        payment = read_payment(json.loads(body))
    except (ValueError, KeyError, TypeError) as error:
        raise web.HTTPUnprocessableEntity(text="this is no event of the kind that it says") from error
    if payment is None:
        return web.json_response({"granted": False})
    grant = {"grantId": payment.payment_id, "credits": payment.credits, "source": "checkout", "create": True}
    path = f"/internal/clients/{quote(payment.client_id, safe='')}/grants"
    headers = {"Authorization": f"Bearer {os.environ['METERING_KEY']}"}
    async with request.app[SESSION].post(os.environ["METERING_URL"] + path, json=grant, headers=headers) as response:
        # 409: this payment was granted, by other terms than those of today. It stays as it was.
        if response.status == 400:  # no time mends it: a person must look
            raise web.HTTPUnprocessableEntity(text=f"payment {payment.payment_id}: {await response.text()}")
        if response.status not in (200, 201, 409):
            raise web.HTTPBadGateway(text=f"metering responded {response.status}")
    return web.json_response({"granted": True})


def require_signature(body: bytes, header: str, now: float) -> None:
    """Raise HTTPBadRequest unless the provider signed these bytes, not long ago."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    signed_at = next((value for name, value in parts if name == "t"), "")
    if not (signed_at.isdecimal() and len(signed_at) < 20) or abs(now - int(signed_at)) > TOLERANCE_SECONDS:
        raise web.HTTPBadRequest(text="the signature is missing or too old")
    secret = os.environ["WEBHOOK_SECRET"].encode()
    expected = hmac.new(secret, f"{signed_at}.".encode() + body, hashlib.sha256).hexdigest()
    # Several while the secret is being changed.
    if not any(hmac.compare_digest(value.encode(), expected.encode()) for name, value in parts if name == "v1"):
        raise web.HTTPBadRequest(text="the signature is not the provider's")


def read_payment(event: dict[str, Any]) -> Payment | None:
    """Return the payment that an event is about; None where nobody has paid by it.

    Raises HTTPUnprocessableEntity for a payment that cannot be granted: a person must look.
    """
    if event["type"] not in PAID:
        return None
    session = event["data"]["object"]
    if session["payment_status"] != "paid":
        return None
    payment_id, client_id, cents = session["payment_intent"], session["client_reference_id"], session["amount_total"]
    if session["currency"] != CURRENCY or type(cents) is not int or cents <= 0:
        raise web.HTTPUnprocessableEntity(text=f"payment {payment_id}: no amount in {CURRENCY}")
    if not all(isinstance(name, str) and name for name in (payment_id, client_id)):
        raise web.HTTPUnprocessableEntity(text=f"payment {payment_id}: no client, or no payment (a subscription)")
    return Payment(payment_id, client_id, cents * CREDITS_PER_CENT)  # what was paid, not what the browser said


async def open_session(app: web.Application) -> AsyncIterator[None]:
    """Keep connections to metering."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as app[SESSION]:
        yield


def create_app(clock: Callable[[], float] = time.time) -> web.Application:
    """Make the application. Does not start without a secret: an empty one is known to anybody."""
    if not os.environ.get("WEBHOOK_SECRET"):
        raise SystemExit("WEBHOOK_SECRET is empty: set it to the provider's signing secret")
    app = web.Application()
    app[CLOCK] = clock
    app.router.add_post("/webhooks/checkout", take_webhook)
    app.cleanup_ctx.append(open_session)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ.get("WEBHOOK_PORT", "8091")))
