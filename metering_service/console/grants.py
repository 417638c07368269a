"""Grant credits: a form, the question whether that is meant, and what was done."""

import secrets
from typing import Any

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.accounts.administer import fetch_balance
from metering_service.api.grant_schemas import CreateGrantSchema
from metering_service.api.responses import read_known_client
from metering_service.console.formats import format_moment, format_number
from metering_service.console.forms import load, read_day, read_number, read_text
from metering_service.console.links import link
from metering_service.console.pages import SESSION, go_to, read_form, show, use_cases
from service_chassis.errors import Conflict, InvalidRequest, say
from service_chassis.schema.fields import REQUIRED

_GRANT = CreateGrantSchema()
_FIELDS = ("grantId", "credits", "expires", "note")


async def show_form(request: web.Request) -> web.Response:
    """GET /console/clients/{clientId}/grant."""
    client_id = await read_known_client(request)
    return await _ask(
        request, client_id, {**dict.fromkeys(_FIELDS, ""), "grantId": f"console-{secrets.token_hex(6)}"}
    )


async def grant(request: web.Request) -> web.Response:
    """POST /console/clients/{clientId}/grant: asks first, and acts where `step` says so."""
    client_id = await read_known_client(request)
    form = await read_form(request)
    written = {name: read_text(form, name) for name in _FIELDS}
    terms, errors = load(
        _GRANT,
        {
            "grantId": written["grantId"],
            "credits": read_number(written["credits"]),
            "note": written["note"],
            "source": "console",
            **({"expiresAt": read_day(written["expires"])} if written["expires"] else {}),
        },
    )
    if "expiresAt" in errors:
        errors["expires"] = errors.pop("expiresAt")
    if not written["note"]:
        errors["note"] = REQUIRED
    if errors or form.get("step") == "change":
        return await _ask(request, client_id, written, errors)
    is_asked = form.get("step") != "do"
    try:
        given = await give_credits.give(
            use_cases(request).pool, client_id, **terms, dry_run=is_asked, actor=request[SESSION].actor
        )
    except InvalidRequest:
        return await _ask(request, client_id, written, {"expires": "Must be a day to come."})
    except Conflict as error:
        return await _ask(request, client_id, written, {"": say(error)})
    if is_asked and given.was_there:
        return await _ask(request, client_id, written, {"": given.say_done()})
    if is_asked:
        balance = await fetch_balance(use_cases(request).pool, client_id)
        return await show(
            request,
            "confirm.html",
            section="clients",
            verb="Grant",
            credits=given.credits,
            client_id=client_id,
            back=link("clients", client_id),
            written=written,
            facts={
                "Available now": format_number(balance.available),
                "Available then": format_number(balance.available + given.credits),
                "Expires": format_moment(given.expires_at) if given.expires_at else "never",
                "Reason": given.note,
                "Grant id": given.grant_id,
            },
        )
    return go_to(link("clients", client_id), f"Granted {given.credits:,} credits to {client_id} as {given.grant_id}.")


async def _ask(
    request: web.Request, client_id: str, written: dict[str, str], errors: dict[str, Any] | None = None
) -> web.Response:
    return await show(
        request,
        "grant.html",
        400 if errors else 200,
        section="clients",
        client_id=client_id,
        written=written,
        errors=errors or {},
    )
