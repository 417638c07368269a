"""Send a body of any length in constant memory, to readers of any speed but none that stands still."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import web

from service_chassis.operations.logging import log_fault

PIECE_BYTES = 64 * 1024
STALL_LIMIT_SECONDS = 30.0
"""A reader that does not take a piece within this time is cut off: it holds a connection and what it has not read."""


async def send_stream(
    request: web.Request, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send `pieces` as they are made, with status 200, and return the response.

    A fault before the first of them is raised, for an error's response. One after it cuts the connection: nobody may
    take what was sent for the whole.
    """
    async with aclosing(pieces):
        piece = await anext(pieces, b"")
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            await _write(response, piece)
            async for piece in pieces:
                await _write(response, piece)
        except ConnectionError:
            pass  # the reader went away
        except Exception as error:
            log_fault("stream_cut_off", error)
            if request.transport is not None:
                request.transport.abort()
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    for start in range(0, len(data), PIECE_BYTES):
        async with asyncio.timeout(STALL_LIMIT_SECONDS):
            await response.write(data[start : start + PIECE_BYTES])
