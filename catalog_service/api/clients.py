"""Clients, for operators."""

from typing import Any

from aiohttp import web

from catalog_service.api.auth import authenticate_operator
from catalog_service.api.client_schemas import (
    ClientChangeSchema,
    ClientSchema,
    ClientsSchema,
    NewClientSchema,
    RegisteredClientSchema,
)
from catalog_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    NEVER_KEPT,
    NO_STORE,
    PAGE_PARAMETERS,
    UNKNOWN_CLIENT,
    WRONG_PAGE,
    describe_success,
    describe_wrong_field,
    read_client_id,
    read_page,
    respond,
)
from catalog_service.api.secrets import ISSUED_EXAMPLE, dump_issued
from catalog_service.clients.client import CLIENT_ID_FORM, WRONG_CLIENT_ID
from catalog_service.components import COMPONENTS
from catalog_service.errors import ClientExists
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Failure
from service_chassis.schema.dump import compile_dump

_NEW_CLIENT = NewClientSchema()
_CLIENT_CHANGE = ClientChangeSchema()
_dump_client = compile_dump(ClientSchema())


async def create_client(request: web.Request) -> web.Response:
    """POST /admin/clients."""
    actor = authenticate_operator(request)
    wanted = await read_body(request, _NEW_CLIENT)
    client, secret = await request.app[COMPONENTS].registrations.register(**wanted, actor=actor)
    return respond({"client": _dump_client(client), "secret": dump_issued(secret)}, NO_STORE)


async def list_clients(request: web.Request) -> web.Response:
    """GET /admin/clients."""
    authenticate_operator(request)
    limit, after = read_page(read_query(request, PAGE_PARAMETERS), "", _parse_client_id)
    clients, last = await request.app[COMPONENTS].registrations.list_clients(after, limit)
    next_cursor = encode_cursor(last.client_id) if last else None
    return respond({"clients": [_dump_client(client) for client in clients], "next_cursor": next_cursor})


async def get_client(request: web.Request) -> web.Response:
    """GET /admin/clients/{client_id}."""
    authenticate_operator(request)
    return respond(_dump_client(await request.app[COMPONENTS].registrations.fetch(read_client_id(request))))


async def change_client(request: web.Request) -> web.Response:
    """PATCH /admin/clients/{client_id}."""
    actor = authenticate_operator(request)
    client_id = read_client_id(request)
    change = await read_body(request, _CLIENT_CHANGE)
    client = await request.app[COMPONENTS].registrations.change(client_id, **change, actor=actor)
    return respond(_dump_client(client))


def _parse_client_id(text: str) -> str:
    if not CLIENT_ID_FORM.fullmatch(text):
        raise ValueError
    return text


_CLIENT_EXAMPLE: dict[str, Any] = {
    "client_id": "acme",
    "name": "Acme Ltd",
    "may_read_all_clients": False,
    "disabled_at": None,
    "created_at": "2026-07-01T09:00:00Z",
}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/admin/clients",
        create_client,
        summary="Register a client",
        description="Enabled, without plans, and with a first secret, which is shown this once.",
        tag="clients",
        body=NewClientSchema,
        body_examples={"A client": {"client_id": "acme", "name": "Acme Ltd"}},
        responses=describe_success(
            "The client and its secret.",
            RegisteredClientSchema,
            {"client": _CLIENT_EXAMPLE, "secret": ISSUED_EXAMPLE},
            NEVER_KEPT,
        ),
        failures=[
            describe_wrong_field("client_id", WRONG_CLIENT_ID),
            Failure("A client of this id is there.", ClientExists("acme")),
            ADMIN_KEY,
        ],
    ),
    Endpoint(
        "GET",
        "/admin/clients",
        list_clients,
        summary="List clients",
        description="All of them, ordered by id, a page at a time.",
        tag="clients",
        parameters=PAGE_PARAMETERS,
        responses=describe_success(
            "Clients, by id.", ClientsSchema, {"clients": [_CLIENT_EXAMPLE], "next_cursor": None}
        ),
        failures=[WRONG_PAGE, ADMIN_KEY],
    ),
    Endpoint(
        "GET",
        "/admin/clients/{client_id}",
        get_client,
        summary="Get a client",
        description="What it is called, what it may do, and since when it is disabled.",
        tag="clients",
        parameters=(CLIENT_ID,),
        responses=describe_success("The client.", ClientSchema, _CLIENT_EXAMPLE),
        failures=[UNKNOWN_CLIENT, ADMIN_KEY],
    ),
    Endpoint(
        "PATCH",
        "/admin/clients/{client_id}",
        change_client,
        summary="Change, disable or enable a client",
        description="`disabled` and the catalog's own calls go by it at once; elsewhere tokens live to their end. "
        "`may_read_all_clients` is in the tokens that are issued from now on.",
        tag="clients",
        parameters=(CLIENT_ID,),
        body=ClientChangeSchema,
        body_examples={"Disable": {"disabled": True}, "Permit": {"may_read_all_clients": True}},
        responses=describe_success("The client as it now is.", ClientSchema, _CLIENT_EXAMPLE),
        failures=[describe_wrong_field("disabled", "Must be true or false."), UNKNOWN_CLIENT, ADMIN_KEY],
    ),
)
