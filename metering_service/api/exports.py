"""A client's ledger and usage, whole, as spreadsheets and programs read them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aiohttp import web

from metering_service.api.auth import for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    describe_missing,
    describe_wrong_field,
    read_identifier,
)
from metering_service.api.usage import RANGE_PARAMETERS
from metering_service.components import COMPONENTS
from metering_service.errors import ClientNotFound
from metering_service.exports.export import LEDGER_COLUMNS, USAGE_COLUMNS, stream_ledger, stream_usage
from service_chassis.http.query import read_query
from service_chassis.http.stream import send_stream
from service_chassis.openapi.endpoint import Endpoint, Success, query
from service_chassis.rows import Batches, RowFormat, RowWriter

_CONTENT_TYPES = {RowFormat.CSV: "text/csv", RowFormat.NDJSON: "application/x-ndjson"}
_FORMAT = query(
    "format",
    "How rows are written; without, as `Accept` says, and CSV where it does not.",
    {"type": "string", "enum": [form.value for form in RowFormat]},
)
_LEDGER_PARAMETERS = (
    query(
        "after",
        "Begin after this `entryId`: the last one that the caller has.",
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0},
    ),
    _FORMAT,
)
_USAGE_PARAMETERS = (*RANGE_PARAMETERS, _FORMAT)


@for_keys("admin")
async def export_ledger(request: web.Request) -> web.StreamResponse:
    """GET /internal/clients/{clientId}/ledger/export."""
    client_id = read_identifier(request, "clientId")
    asked = read_query(request, _LEDGER_PARAMETERS)
    batches = stream_ledger(request.app[COMPONENTS].pool, client_id, asked["after"] or 0)
    return await _send(request, asked, "ledger", LEDGER_COLUMNS, batches)


@for_keys("admin")
async def export_usage(request: web.Request) -> web.StreamResponse:
    """GET /internal/clients/{clientId}/usage/export."""
    client_id = read_identifier(request, "clientId")
    asked = read_query(request, _USAGE_PARAMETERS)
    batches = stream_usage(request.app[COMPONENTS].pool, client_id, asked["from"], asked["to"])
    return await _send(request, asked, "usage", USAGE_COLUMNS, batches)


async def _send(
    request: web.Request, asked: dict[str, Any], name: str, columns: Sequence[str], batches: Batches
) -> web.StreamResponse:
    wants_json = _CONTENT_TYPES[RowFormat.NDJSON] in request.headers.get("Accept", "")
    form = RowFormat(asked["format"] or (RowFormat.NDJSON if wants_json else RowFormat.CSV))
    headers = {
        "Content-Type": f"{_CONTENT_TYPES[form]}; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}.{form}"',
    }
    return await send_stream(request, _write(RowWriter(form, columns), batches), headers)


async def _write(writer: RowWriter, batches: Batches) -> AsyncGenerator[bytes, None]:
    head = writer.head
    async for batch in batches:
        yield head + writer.write(batch)
        head = b""


_SENT_AS = {"Content-Disposition": "A file's name."}
_COMMON_WORDS = (
    "Read in batches, in constant memory, whatever its size and however slowly it is taken; a fault cuts the "
    "connection, so that a part is never taken for the whole. In CSV a text that a spreadsheet would take for a "
    "formula, because it begins with = + - @, a tab or a carriage return, gets a ' in front; NDJSON has it as it is."
)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/ledger/export",
        export_ledger,
        summary="Export a client's ledger",
        description="Every line, oldest first. To go on later, ask for what is `after` the last line's `entryId`: "
        "lines of one client become visible in the order of their numbers, so none that commits late is missed. "
        + _COMMON_WORDS,
        tag="accounts",
        parameters=(CLIENT_ID, *_LEDGER_PARAMETERS),
        responses={
            200: Success(
                "The lines.",
                {"type": "string"},
                f"{','.join(LEDGER_COLUMNS)}\r\n1,2026-07-01T09:00:00Z,grant,1000,,,,,,,order-1001,sales,,ops,\r\n",
                _SENT_AS,
                content_type=_CONTENT_TYPES[RowFormat.CSV],
                also={
                    _CONTENT_TYPES[RowFormat.NDJSON]: '{"entryId":1,"kind":"grant","credits":1000,'
                    '"at":"2026-07-01T09:00:00Z","source":"sales","reference":"order-1001"}\n'
                },
            )
        },
        failures=[
            describe_wrong_field("format", "Must be one of: csv, ndjson."),
            *ADMIN_KEY,
            describe_missing(ClientNotFound("demo")),
        ],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/usage/export",
        export_usage,
        summary="Export a client's usage",
        description="A row for each UTC day and event type, day by day. A day's rows change until it is over and "
        "nothing of it is held, as `final` of the usage says, and by late charges. " + _COMMON_WORDS,
        tag="accounts",
        parameters=(CLIENT_ID, *_USAGE_PARAMETERS),
        responses={
            200: Success(
                "The rows.",
                {"type": "string"},
                f"{','.join(USAGE_COLUMNS)}\r\n2026-07-01,llm.tokens,12,9000,18000,0,,3,,,2026-07-01T17:20:00Z\r\n",
                _SENT_AS,
                content_type=_CONTENT_TYPES[RowFormat.CSV],
                also={
                    _CONTENT_TYPES[RowFormat.NDJSON]: '{"window":"2026-07-01","eventType":"llm.tokens","charged":12,'
                    '"units":9000,"credits":18000,"overage":0,"refused":{"api_quota_exceeded":3},'
                    '"lastAt":"2026-07-01T17:20:00Z"}\n'
                },
            )
        },
        failures=[
            describe_wrong_field("from", "Must be a day, such as 2026-07-01."),
            *ADMIN_KEY,
            describe_missing(ClientNotFound("demo")),
        ],
    ),
)
