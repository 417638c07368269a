"""A service that sells `llm.tokens`: it authorizes the most that an answer may be, and is charged for what it was.

    PYTHONPATH=. python docs/examples/llm_service.py

reads LLM_POSTGRES_DSN, METERING_URL and METERING_KEY (scope `events`), and listens on LLM_PORT.
"""

import os
from collections.abc import AsyncIterator
from uuid import UUID, uuid4, uuid5

import asyncpg
from aiohttp import web
from aiohttp.typedefs import Handler

from metering_client import BillingError, BillingTimes, FactExists, as_headers, create_tables, open_billing
from metering_client.billing import Billing

TOKENS = "llm.tokens"
KEYS = UUID("7a1f0e52-6a3c-4b7e-9d58-2f6f1f0c9b11")
"""Any UUID of your own: completions with an Idempotency-Key have an id that follows from client and key."""

CREATE_COMPLETIONS = """
    CREATE TABLE IF NOT EXISTS completion (
        event_id text PRIMARY KEY,
        client_id text NOT NULL,
        tokens bigint NOT NULL,
        answer text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
"""
FACTS = "SELECT event_id, client_id, 'llm.tokens', NULL, tokens, created_at FROM completion"
INSERT = "INSERT INTO completion (event_id, client_id, tokens, answer) VALUES ($1, $2, $3, $4)"
FETCH = "SELECT tokens, answer FROM completion WHERE event_id = $1 AND client_id = $2"

POOL = web.AppKey("pool", asyncpg.Pool)
BILLING = web.AppKey("billing", Billing)


async def complete(request: web.Request) -> web.Response:
    """POST /completions: {"prompt", "maxTokens"} -> {"tokens", "answer"}."""
    client_id, prompt, most = await read_request(request)
    key = request.headers.get("Idempotency-Key")
    completion_id = uuid4() if key is None else uuid5(KEYS, f"{client_id}\n{key}")  # neither holds a line end
    pool, billing = request.app[POOL], request.app[BILLING]
    stored = f"{TOKENS}:{completion_id}", client_id
    if key is not None and (row := await pool.fetchrow(FETCH, *stored)):
        return web.json_response(dict(row))
    try:
        async with billing.authorize(TOKENS, completion_id, client_id=client_id, units=most) as hold:
            tokens, answer = await run_model(prompt, most)
            async with pool.acquire() as connection, hold.charge(connection, units=tokens):
                await connection.execute(INSERT, hold.event_id, client_id, tokens, answer)
    except FactExists:  # another request with this key was first
        return web.json_response(dict(await pool.fetchrow(FETCH, *stored)))
    return web.json_response({"tokens": tokens, "answer": answer}, headers=as_headers(hold.limits))


async def read_request(request: web.Request) -> tuple[str, str, int]:
    """Return who asks, what, and for how many tokens at most. Raises HTTPBadRequest."""
    client_id = request.headers.get("X-Client-Id", "")  # however your service knows its callers
    try:
        body = await request.json()
        prompt, most = body["prompt"], body["maxTokens"]
        for text in (prompt, client_id, request.headers.get("Idempotency-Key", "")):
            text.encode()  # what is no text, or none that PostgreSQL can hold, is refused before anything is asked
    except (ValueError, LookupError, TypeError, AttributeError):
        raise web.HTTPBadRequest(text='send {"prompt": "...", "maxTokens": 100}') from None
    if "\x00" in prompt:
        raise web.HTTPBadRequest(text="prompt must not hold NUL characters")
    return client_id, prompt, most


async def run_model(prompt: str, max_tokens: int) -> tuple[int, str]:
    """Return how many tokens an answer has, and the answer. Stands for your model."""
    words = prompt.split()[:max_tokens]
    return len(words), " ".join(words).upper()


async def say_healthy(_: web.Request) -> web.Response:
    """GET /healthz."""
    return web.json_response({"status": "ok"})


@web.middleware
async def say_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer refusals (429, with Retry-After) and what could not be decided, each with its own status and words."""
    try:
        return await handler(request)
    except BillingError as error:
        body = {"error": error.message, "code": error.code}
        return web.json_response(body, status=error.status, headers=error.headers)


async def open_all(app: web.Application) -> AsyncIterator[None]:
    """Open the database and billing, and close them at the end."""
    seconds = float(os.environ.get("LLM_RESOLVE_AFTER_SECONDS", "30"))
    async with asyncpg.create_pool(os.environ["LLM_POSTGRES_DSN"], min_size=0, command_timeout=5) as pool:
        async with pool.acquire() as connection:
            await create_tables(connection, own=CREATE_COMPLETIONS, facts=FACTS)
        async with open_billing(
            pool,
            url=os.environ["METERING_URL"],
            key=os.environ["METERING_KEY"],
            event_types={TOKENS},
            times=BillingTimes(resolve_after=int(seconds), sweep=seconds / 6),
        ) as billing:
            app[POOL], app[BILLING] = pool, billing
            yield


def create_app() -> web.Application:
    """Make the application."""
    app = web.Application(middlewares=[say_errors])
    app.router.add_post("/completions", complete)
    app.router.add_get("/healthz", say_healthy)
    app.cleanup_ctx.append(open_all)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ.get("LLM_PORT", "8090")))
