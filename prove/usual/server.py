"""What the usual servers have in common: two databases as behind two services, one route, errors as 500."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
from aiohttp import web

from local_stack.ports import LOOPBACK

PORT, PLAYS_DSN, CREDITS_DSN = "USUAL_PORT", "USUAL_PLAYS_DSN", "USUAL_CREDITS_DSN"
"""Names of the environment variables that each reads."""
STATEMENT_TIMEOUT_SECONDS = 1.0

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a statement raises while the database is away, or came to its end meanwhile."""

PLAYS_SCHEMA = """
    CREATE TABLE play (
        client_id text NOT NULL, idempotency_key text NOT NULL, play_id uuid NOT NULL DEFAULT gen_random_uuid(),
        PRIMARY KEY (client_id, idempotency_key))
"""
CREDITS_SCHEMA = """
    CREATE TABLE client (client_id text PRIMARY KEY, credits bigint NOT NULL);
    CREATE TABLE given (client_id text, round_number integer, PRIMARY KEY (client_id, round_number));
    CREATE TABLE charge (charge_id bigserial PRIMARY KEY, client_id text NOT NULL, idempotency_key text NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A play that a client wants; the same key again is the same play."""

    client_id: str
    key: str


class OutOfCredits(Exception):
    """The client has none left."""


@dataclass(frozen=True, slots=True)
class Databases:
    """Connections to plays and to credits, which two services would keep."""

    plays: asyncpg.Pool
    credits: asyncpg.Pool

    async def find_play(self, wish: Wish) -> str | None:
        """Return the id of the play that was made for this key, or None."""
        statement = "SELECT play_id::text FROM play WHERE client_id = $1 AND idempotency_key = $2"
        play_id: str | None = await self.plays.fetchval(statement, wish.client_id, wish.key)
        return play_id

    async def insert_play(self, wish: Wish) -> str:
        """Make the play, or leave the one that was made for this key meanwhile; return its id."""
        statement = """
            INSERT INTO play (client_id, idempotency_key) VALUES ($1, $2)
            ON CONFLICT (client_id, idempotency_key) DO UPDATE SET client_id = excluded.client_id
            RETURNING play_id::text
        """
        play_id: str = await self.plays.fetchval(statement, wish.client_id, wish.key)
        return play_id


Sell = Callable[[Databases, Wish], Awaitable[str]]
"""Make a play and charge for it; return its id. Raises OutOfCredits, or one of FAILURES."""


def serve(sell: Sell) -> None:
    """Serve POST /api/plan-plays until killed."""
    web.run_app(_create_app(sell), host=LOOPBACK, port=int(os.environ[PORT]), print=None, access_log=None)


async def _create_app(sell: Sell) -> web.Application:
    pools = [
        asyncpg.create_pool(
            os.environ[name], min_size=0, max_size=8, timeout=STATEMENT_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
        )
        for name in (PLAYS_DSN, CREDITS_DSN)
    ]  # fmt: skip
    databases = Databases(*await asyncio.gather(*pools))

    async def create_play(request: web.Request) -> web.Response:
        # Who the caller is, is not what this is about: its token is its name.
        client_id = request.headers["Authorization"].removeprefix("Bearer ")
        try:
            play_id = await sell(databases, Wish(client_id, request.headers["Idempotency-Key"]))
        except OutOfCredits:
            return web.json_response({"error": "Prepaid credits exhausted"}, status=429)
        except FAILURES:
            return web.json_response({"error": "Please try again"}, status=500)
        return web.json_response({"data": {"id": play_id}}, status=201)

    async def say_ready(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/plan-plays", create_play)
    app.router.add_get("/readyz", say_ready)
    return app
