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
"""A reader that does not take a piece within this time is cut off: it holds a database connection."""

Batch = Sequence[PlanPlay]


async def send_list(request: web.Request, plays: AsyncGenerator[Batch, None]) -> web.StreamResponse:
    """Send all of `plays`, at least one batch: in one piece when there is no other, else as they are read.

    A fault before the first byte is an error's own response. After it, the connection is cut: nobody may take
    what was sent for a whole list.
    """
    async with aclosing(plays) as batches:
        first = await anext(batches)
        second = await anext(batches, None)
        if second is None:
            return respond_list(first)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            await _send(response, (first, second), batches)
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
