"""Refund a charge: a form, the question whether that is meant, and what was done."""

import secrets
from typing import Any

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.api.grant_schemas import CreateRefundSchema
from metering_service.api.responses import read_identifier, read_known_client
from metering_service.console.formats import format_number
from metering_service.console.forms import load, read_number, read_text
from metering_service.console.links import link
from metering_service.console.pages import SESSION, go_to, read_form, show, use_cases
from metering_service.errors import RefundTooLarge
from service_chassis.errors import Conflict, say

_REFUND = CreateRefundSchema()
_FIELDS = ("refundId", "credits", "reason")


async def show_form(request: web.Request) -> web.Response:
    """GET /console/clients/{clientId}/events/{eventId}/refund."""
    client_id, event_id = await read_known_client(request), read_identifier(request, "eventId")
    _, left = await give_credits.count_refundable(use_cases(request).pool, client_id, event_id)
    written = {"refundId": f"console-{secrets.token_hex(6)}", "credits": str(left), "reason": ""}
    return await _ask(request, client_id, event_id, written)


async def refund(request: web.Request) -> web.Response:
    """POST /console/clients/{clientId}/events/{eventId}/refund: asks first, and acts where `step` says so."""
    client_id, event_id = await read_known_client(request), read_identifier(request, "eventId")
    form = await read_form(request)
    written = {name: read_text(form, name) for name in _FIELDS}
    terms, errors = load(_REFUND, {**written, "credits": read_number(written["credits"]), "eventId": event_id})
    if errors or form.get("step") == "change":
        return await _ask(request, client_id, event_id, written, errors)
    charged, left = await give_credits.count_refundable(use_cases(request).pool, client_id, event_id)
    is_asked, back = form.get("step") != "do", link("clients", client_id, "events", event_id)
    try:
        given = await give_credits.refund(
            use_cases(request).pool, client_id, **terms, dry_run=is_asked, actor=request[SESSION].actor
        )
    except RefundTooLarge:
        errors = {"credits": f"Must be at most {left:,}: so much of the charge is not refunded yet."}
        return await _ask(request, client_id, event_id, written, errors)
    except Conflict as error:
        return await _ask(request, client_id, event_id, written, {"": say(error)})
    if is_asked and given.was_there:
        return await _ask(request, client_id, event_id, written, {"": given.say_done()})
    if is_asked:
        return await show(
            request,
            "confirm.html",
            section="decisions",
            verb="Refund",
            credits=given.credits,
            client_id=client_id,
            back=back,
            written=written,
            facts={
                "For": event_id,
                "It was charged": format_number(charged),
                "Reason": given.note,
                "Refund id": given.grant_id,
            },
        )
    return go_to(
        back,
        f"Refunded {given.credits:,} credits to {client_id} as {given.grant_id}.",
    )


async def _ask(
    request: web.Request, client_id: str, event_id: str, written: dict[str, str], errors: dict[str, Any] | None = None
) -> web.Response:
    charged, left = await give_credits.count_refundable(use_cases(request).pool, client_id, event_id)
    return await show(
        request,
        "refund.html",
        400 if errors else 200,
        section="decisions",
        client_id=client_id,
        event_id=event_id,
        written=written,
        errors=errors or {},
        charged=charged,
        left=left,
    )
