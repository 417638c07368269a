"""Check, then track: ask what is left, make the play, tell the meter that it was made.

What most metering products offer, an entitlement to be checked and an event to be sent after the fact. Two requests
that check at the same time both see the last credit. Whoever is killed between play and event has sold for nothing.
"""

from prove.usual.server import Databases, OutOfCredits, Wish, serve


async def sell(databases: Databases, wish: Wish) -> str:
    """Check, make the play, track it."""
    if (play_id := await databases.find_play(wish)) is not None:
        return play_id
    statement = "SELECT credits FROM client WHERE client_id = $1"
    if await databases.credits.fetchval(statement, wish.client_id) < 1:
        raise OutOfCredits
    play_id = await databases.insert_play(wish)
    await _track(databases, wish)
    return play_id


async def _track(databases: Databases, wish: Wish) -> None:
    async with databases.credits.acquire() as connection, connection.transaction():
        statement = "INSERT INTO charge (client_id, idempotency_key) VALUES ($1, $2)"
        await connection.execute(statement, wish.client_id, wish.key)
        await connection.execute("UPDATE client SET credits = credits - 1 WHERE client_id = $1", wish.client_id)


if __name__ == "__main__":
    serve(sell)
