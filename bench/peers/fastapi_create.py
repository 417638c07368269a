"""The same in FastAPI: limits on Redis, asyncpg, the one idempotent statement of debit.sql. Run by uvicorn.

Environment: POSTGRES_DSN, REDIS_URL. No token is checked and there is no second service.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import asyncpg
from fastapi import FastAPI, Header, HTTPException
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import BlockingConnectionPool

POOL_SIZE = 20
PRICE = 1
LIMIT = RateLimitItemPerSecond(1_000_000)
DEBIT = Path(__file__).with_name("debit.sql").read_text()


class NewPlanPlay(BaseModel):
    """The body."""

    model_config = ConfigDict(extra="forbid")
    planId: str = Field(min_length=1)
    userId: str | None = None
    plannedLessons: list[str] = []


class PlanPlay(BaseModel):
    """The answer's data."""

    id: str
    planId: str
    clientId: str
    userId: str | None
    plannedLessons: list[str]
    createdAt: str


class Created(BaseModel):
    """The answer."""

    data: PlanPlay


@asynccontextmanager
async def open_all(app: FastAPI) -> AsyncIterator[None]:
    """Open the pools, close them at the end."""
    url = os.environ["REDIS_URL"]
    redis_pool = BlockingConnectionPool.from_url(url, max_connections=POOL_SIZE, timeout=10)
    storage = RedisStorage(f"async+{url}", implementation="redispy", connection_pool=redis_pool)
    app.state.limiter = FixedWindowRateLimiter(storage)
    async with asyncpg.create_pool(os.environ["POSTGRES_DSN"], min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=open_all)


@app.post("/api/plan-plays", status_code=201)
async def create(
    new: NewPlanPlay,
    x_client_id: Annotated[str, Header()],
    idempotency_key: Annotated[str, Header()],
) -> Created:
    """Check the rate, debit once, answer."""
    if not await app.state.limiter.hit(LIMIT, x_client_id):
        raise HTTPException(429, "Too many")
    try:
        at = await app.state.pool.fetchval(DEBIT, idempotency_key, x_client_id, new.planId, PRICE)
    except asyncpg.UniqueViolationError:
        at = None
    if at is None:
        at = await app.state.pool.fetchval("SELECT at FROM usage WHERE request_id = $1", idempotency_key)
    if at is None:
        raise HTTPException(429, "No credits left")
    return Created(
        data=PlanPlay(
            id=idempotency_key,
            planId=new.planId,
            clientId=x_client_id,
            userId=new.userId,
            plannedLessons=new.plannedLessons,
            createdAt=at.isoformat(),
        )
    )
