"""One decision: what was charged or held, or refused, and its receipt."""

import uuid

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.api.responses import parse_id, read_identifier, read_known_client
from metering_service.console.links import link
from metering_service.console.pages import SESSION, go_to, show, use_cases
from metering_service.console.receipts import list_gates, say_when
from metering_service.errors import EventNotFound, PolicyNotFound
from metering_service.events.decision import Decision
from metering_service.events.event import SENTENCES, BillableEvent
from metering_service.events.event_store import EventStore
from metering_service.events.read import fetch_event
from metering_service.policies.administer import fetch_history
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS, Policy, is_identifier
from metering_service.refusals.keep import fetch_refusals
from service_chassis.http.cursor import decode_cursor
from service_chassis.http.query import read_moment

_MOST_CLIENTS = 20
"""That an event id is looked for at: it is each client's own, and made so that it is only one's."""


async def find_event(request: web.Request) -> web.Response:
    """GET /console/decisions."""
    event_id, client_id = (
        request.query.get(name, "").strip()[: MAX_IDENTIFIER_CHARACTERS + 1] for name in ("event", "client")
    )
    found: list[str] = []
    if is_identifier(event_id) and client_id and is_identifier(client_id):
        try:
            await fetch_event(use_cases(request).pool, client_id, event_id)
            found = [client_id]
        except EventNotFound:
            pass
    elif is_identifier(event_id) and not client_id:
        found = await EventStore(use_cases(request).pool).list_clients_of(event_id, _MOST_CLIENTS)
    if len(found) == 1:
        return go_to(link("clients", found[0], "events", event_id))
    return await show(
        request, "find_event.html", section="decisions", event_id=event_id, client_id=client_id, found=found
    )


async def show_event(request: web.Request) -> web.Response:
    """GET /console/clients/{clientId}/events/{eventId}."""
    client_id, event_id = await read_known_client(request), read_identifier(request, "eventId")
    cases = use_cases(request)
    state = await fetch_event(cases.pool, client_id, event_id)
    receipt = state.receipt and state.receipt.as_document()
    refundable = (
        (await give_credits.count_refundable(cases.pool, client_id, event_id))[1]
        if state.state == "settled" and state.receipt
        else 0
    )
    return await show(
        request,
        "event.html",
        section="decisions",
        client_id=client_id,
        state=state,
        receipt=receipt,
        gates=list_gates(receipt) if receipt else [],
        refundable=refundable,
    )


async def show_refusal(request: web.Request) -> web.Response:
    """GET /console/clients/{clientId}/refusals/{line}."""
    client_id = await read_known_client(request)
    minute, *rest = decode_cursor(request.match_info["line"], read_moment, parse_id, parse_id, parse_id, parse_id)
    line = await fetch_refusals(use_cases(request).pool, client_id, (minute, *rest))
    receipt = line.last_receipt
    policy = await _find_terms(request, receipt["policyId"], receipt["policyVersion"])
    gates = list_gates(receipt, line.code, line.limit)
    return await show(
        request,
        "refusal.html",
        section="decisions",
        client_id=client_id,
        line=line,
        receipt=receipt,
        gates=gates,
        first_gates=list_gates(line.first_receipt, line.code, line.limit),
        sentence=SENTENCES.get(line.code, line.code),
        when=say_when(policy, line.code, line.limit, line.last_at, gates),
        now=await _try_out(request, client_id, line.event_type, line.user_id or None),
    )


async def _find_terms(request: web.Request, policy_id: str, number: int) -> Policy | None:
    try:
        _, versions = await fetch_history(use_cases(request).pool, policy_id)
    except PolicyNotFound:
        return None
    return next((each.policy for each in versions if each.version == number), None)


async def _try_out(request: web.Request, client_id: str, event_type: str, user_id: str | None) -> Decision:
    """Return what would be decided now about one unit; nothing is kept."""
    event = BillableEvent(str(uuid.uuid4()), f"console:{uuid.uuid4()}", client_id, event_type, user_id)
    [decision] = await use_cases(request).authorizations.try_out([event], service=request[SESSION].actor)
    return decision
