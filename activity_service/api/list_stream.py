"""Send a list of any length in constant memory, to readers of any speed but none that stands still."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from aiohttp import web

from activity_service.api.responses import encode_elements, respond_list
from activity_service.plays.plan_play import PlanPlay
from service_chassis.operations.logging import log_fault

PIECE_BYTES = 64 * 1024
STALL_LIMIT_SECONDS = 30.0
"""A reader that does not take a piece within this time is cut off: it holds a connection and what it has not read."""

Batch = Sequence[PlanPlay]


async def read_ahead(plays: AsyncGenerator[Batch, None]) -> Sequence[Batch]:
    """Return the first batch of `plays` and the second, if there is one: what shows whether the list is long."""
    begun = [await anext(plays)]
    async for batch in plays:
        return [*begun, batch]
    return begun


async def send_list(
    request: web.Request, begun: Sequence[Batch], rest: AsyncGenerator[Batch, None]
) -> web.StreamResponse:
    """Send what `read_ahead` returned and the `rest`: in one piece when one batch is all, else as they are read.

    A fault after the first byte cuts the connection: nobody may take what was sent for a whole list.
    """
    async with aclosing(rest):
        if len(begun) == 1:
            return respond_list(begun[0])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            await _send(response, begun, rest)
        except ConnectionError:
            pass  # the reader went away
        except Exception as error:
            log_fault("list_cut_off", error)
            if request.transport is not None:
                request.transport.abort()
    return response


async def _send(response: web.StreamResponse, begun: Sequence[Batch], rest: AsyncIterator[Batch]) -> None:
    count = 0
    opening = b'{"data":['
    for batch in begun:
        await _write(response, opening + encode_elements(batch))
        opening = b","
        count += len(batch)
    async for batch in rest:
        await _write(response, opening + encode_elements(batch))
        count += len(batch)
    await _write(response, b'],"count":%d}' % count)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    for start in range(0, len(data), PIECE_BYTES):
        async with asyncio.timeout(STALL_LIMIT_SECONDS):
            await response.write(data[start : start + PIECE_BYTES])
