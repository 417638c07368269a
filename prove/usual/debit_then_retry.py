"""Debit, then retry: take the credit in one guarded statement, make the play, and begin anew when anything fails.

The guard never sells a credit that is not there. But where a debit's answer got lost, or its play was not made, the
next try takes another: the client is charged twice; or it was the last one, and the client is charged and refused.
One transaction over both would mend it; plays and credits are two services' here, with a database each, as they are
wherever billing is a service of its own.
"""

import asyncio

from prove.usual.server import FAILURES, Databases, OutOfCredits, Wish, serve

TRIES = 3
RETRY_SECONDS = 0.1

DEBIT = """
    WITH debit AS (
        UPDATE client SET credits = credits - 1 WHERE client_id = $1 AND credits >= 1 RETURNING client_id)
    INSERT INTO charge (client_id, idempotency_key) SELECT client_id, $2 FROM debit RETURNING charge_id
"""


async def sell(databases: Databases, wish: Wish) -> str:
    """Try it a few times."""
    for number in range(1, TRIES):
        try:
            return await _debit_and_make(databases, wish)
        except FAILURES:
            await asyncio.sleep(RETRY_SECONDS * number)
    return await _debit_and_make(databases, wish)


async def _debit_and_make(databases: Databases, wish: Wish) -> str:
    if (play_id := await databases.find_play(wish)) is not None:
        return play_id
    if await databases.credits.fetchval(DEBIT, wish.client_id, wish.key) is None:
        raise OutOfCredits
    return await databases.insert_play(wish)


if __name__ == "__main__":
    serve(sell)
