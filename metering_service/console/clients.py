"""Clients side by side, and one of them."""

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.accounts.administer import fetch_balance
from metering_service.accounts.quota import list_quotas
from metering_service.api.responses import parse_id, read_known_client
from metering_service.clients.client import PACE_DAYS, SEEN_DAYS, Order
from metering_service.clients.find import FIRST, find_clients, list_balance_days
from metering_service.console.charts import choose_types, draw_balance, draw_usage, group_usage
from metering_service.console.links import link
from metering_service.console.pages import go_to, show, use_cases
from metering_service.decisions.read import Position, find_decisions
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from metering_service.policies.store import PolicyStore
from metering_service.usage.read import fetch_last_days
from service_chassis.http.cursor import decode_cursor, encode_cursor
from service_chassis.http.query import read_moment

PAGE_LINES = 25
"""In a list: what a person looks through."""
ORDERS: dict[Order, str] = {
    "name": "Name",
    "spend": "Spend",
    "refusals": "Refusals",
    "ending": "Balance about to end",
}
_FIRST_POSITION = Position()


async def go_home(_: web.Request) -> web.Response:
    """GET /console."""
    return go_to(link("clients"))


async def list_clients(request: web.Request) -> web.Response:
    """GET /console/clients."""
    part = request.query.get("q", "").strip()[:MAX_IDENTIFIER_CHARACTERS]
    sort = request.query.get("sort", "")
    order = sort if sort in ORDERS else "name"
    cursor = request.query.get("cursor")
    value, client_id = decode_cursor(cursor, int, parse_id) if cursor else FIRST[order]
    cases = use_cases(request)
    listed, last = (
        await find_clients(cases.pool, cases.default_policy, order, part, (value, client_id), PAGE_LINES)
        if part.isprintable()
        else ((), None)
    )
    return await show(
        request,
        "clients.html",
        section="clients",
        listed=listed,
        part=part,
        order=order,
        orders=ORDERS,
        is_first=not cursor,
        next_cursor=encode_cursor(*last) if last else None,
        seen_days=SEEN_DAYS,
        pace_days=PACE_DAYS,
    )


async def show_client(request: web.Request) -> web.Response:
    """GET /console/clients/{clientId}."""
    client_id = await read_known_client(request)
    cases = use_cases(request)
    policies = await PolicyStore(cases.pool).list_of_clients([client_id], cases.default_policy)
    version = policies[client_id].enforced
    quotas = await list_quotas(cases.pool, cases.default_policy, [client_id])
    balance = await fetch_balance(cases.pool, client_id)
    usage = await fetch_last_days(cases.pool, client_id, SEEN_DAYS)
    days = await list_balance_days(cases.pool, usage, balance)
    cursor = request.query.get("cursor")
    lines, last = await find_decisions(cases.pool, client_id, None, None, _read_position(cursor), PAGE_LINES)
    types = choose_types(usage)
    calendar = [day.day for day in days]
    is_paid = version.policy.credits != "unlimited" or balance.granted > 0
    return await show(
        request,
        "client.html",
        section="clients",
        client_id=client_id,
        version=version,
        balance=balance,
        quotas=quotas[client_id],
        usage=usage,
        usage_chart=draw_usage(usage, calendar, types) if types else None,
        usage_by_day=group_usage(usage, types),
        refused=sum(sum((each.refused or {}).values()) for each in usage.sums),
        spent=sum(day.spent for day in days),
        days=days,
        balance_chart=draw_balance(days) if is_paid else None,
        recurring=await give_credits.list_recurring(cases.pool, client_id),
        lines=lines,
        is_first=not cursor,
        next_cursor=encode_cursor(*last.charge, *last.refusal) if last else None,
        encode_cursor=encode_cursor,
        seen_days=SEEN_DAYS,
    )


def _read_position(cursor: str | None) -> Position:
    if not cursor:
        return _FIRST_POSITION
    at, entry_id, *refusal = decode_cursor(
        cursor, read_moment, int, read_moment, parse_id, parse_id, parse_id, parse_id
    )
    return Position((at, entry_id), tuple(refusal))
