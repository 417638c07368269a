"""Turns at the connections of a pool."""

import asyncio

import pytest

from service_chassis.database.turns import Turns
from service_chassis.errors import TooManyAtOnce


async def test_one_client_leaves_a_quarter_of_the_turns_and_whoever_gives_up_leaves_nothing_behind() -> None:
    turns = Turns(4)
    greedy, another = turns.share_of("greedy"), turns.share_of("another")
    for _ in range(3):
        await turns.take(1, greedy)
    waiting = asyncio.create_task(turns.take(10, greedy))
    with pytest.raises(TooManyAtOnce) as refused:
        await turns.take(0, greedy)
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    await turns.take(0, another)
    with pytest.raises(TimeoutError) as late:
        await turns.take(0, another)  # which has less than it may, and finds none free
    assert not isinstance(late.value, TooManyAtOnce)
    turns.give_back(another)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for _ in range(3):
        turns.give_back(turns.share_of("greedy"))
    assert turns.taken == 0
    for _ in range(4):
        await turns.take(0, turns.share_of(""))
