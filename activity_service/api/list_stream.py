"""Send a list of plays of any length as it is read."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import web

from activity_service.api.plan_play_schemas import encode_elements, respond_list
from activity_service.plays.plan_play import PlanPlay
from service_chassis.http.stream import send_stream

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
    """Send what `read_ahead` returned and the `rest`: in one piece when one batch is all, else as they are read."""
    async with aclosing(rest):
        if len(begun) == 1:
            return respond_list(begun[0])
        return await send_stream(request, _encode(begun, rest), {"Content-Type": "application/json"})


async def _encode(begun: Sequence[Batch], rest: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    count = 0
    opening = b'{"data":['
    for batch in begun:
        yield opening + encode_elements(batch)
        opening = b","
        count += len(batch)
    async for batch in rest:
        yield opening + encode_elements(batch)
        count += len(batch)
    yield b'],"count":%d}' % count
