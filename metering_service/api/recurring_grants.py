"""What a client is given again and again."""

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.accounts.give_credits import MAX_RECURRING_ID_CHARACTERS
from metering_service.accounts.grant import RecurringTerms
from metering_service.api.auth import KEY, for_keys
from metering_service.api.grant_schemas import (
    PutRecurringGrantSchema,
    RecurringGrantSchema,
    RecurringGrantsSchema,
)
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    UNKNOWN_CLIENT,
    describe_identifier,
    describe_wrong_field,
    read_identifier,
    respond,
)
from metering_service.components import COMPONENTS
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Endpoint, Success

_PUT_RECURRING_GRANT = PutRecurringGrantSchema()


@for_keys("admin")
async def put_recurring_grant(request: web.Request) -> web.Response:
    """PUT /internal/clients/{clientId}/recurring-grants/{recurringId}."""
    client_id, recurring_id = read_identifier(request, "clientId"), read_identifier(request, "recurringId")
    body = await read_body(request, _PUT_RECURRING_GRANT)
    terms = RecurringTerms(
        body["credits"],
        body["every"],
        body["starts_at"],
        body["ends_at"],
        body["expires"] == "period",
        body["rollover"] and body["rollover"]["max"],
        body["priority"],
    )
    put = await give_credits.put_recurring(
        request.app[COMPONENTS].pool, client_id, recurring_id, terms, create=body["create"], actor=request[KEY].name
    )
    return respond(put.as_document())


@for_keys("admin")
async def list_recurring_grants(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/recurring-grants."""
    client_id = read_identifier(request, "clientId")
    found = await give_credits.list_recurring(request.app[COMPONENTS].pool, client_id)
    return respond({"clientId": client_id, "recurringGrants": [each.as_document() for each in found]})


_RECURRING_BODY = {
    "credits": 1000,
    "every": "month",
    "startsAt": "2026-07-01T00:00:00Z",
    "endsAt": None,
    "expires": "period",
    "rollover": {"max": 200},
    "priority": 10,
}
_RECURRING_EXAMPLE = {"recurringId": "plan", **_RECURRING_BODY, "nextAt": "2026-08-01T00:00:00Z"}

ENDPOINTS = (
    Endpoint(
        "PUT",
        "/internal/clients/{clientId}/recurring-grants/{recurringId}",
        put_recurring_grant,
        summary="Put a recurring grant",
        description="Gives a client credits every day, week, month or year, counted from `startsAt`. Each period's "
        "grant exists once, under `{recurringId}:{start}`, whether anybody asks for the account at that time or "
        "not. A change counts from the next period on. `rollover`: so much of what is left when a period ends, at "
        "the most, comes on top of the next grant.",
        tag="accounts",
        parameters=(
            CLIENT_ID,
            describe_identifier("recurringId", "The recurring grant's id.", MAX_RECURRING_ID_CHARACTERS),
        ),
        body=PutRecurringGrantSchema,
        body_examples={"A monthly allowance": _RECURRING_BODY},
        responses={200: Success("The recurring grant.", RecurringGrantSchema, _RECURRING_EXAMPLE)},
        failures=[describe_wrong_field("endsAt", "Must be after startsAt."), *ADMIN_KEY, UNKNOWN_CLIENT],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/recurring-grants",
        list_recurring_grants,
        summary="List recurring grants",
        description="Of one client, ended ones too.",
        tag="accounts",
        parameters=(CLIENT_ID,),
        responses={
            200: Success(
                "They, by id.",
                RecurringGrantsSchema,
                {"clientId": "demo", "recurringGrants": [_RECURRING_EXAMPLE]},
            )
        },
        failures=[*ADMIN_KEY, UNKNOWN_CLIENT],
    ),
)
