"""Credits by gringotts-api, as its README has it, on PostgreSQL, with a larger pool. Run by uvicorn.

Environment: DATABASE_URL, a postgresql+psycopg:// URL. It checks no rate and keeps no play.
"""

import gringotts
from fastapi import Depends, FastAPI
from gringotts import CreditedUser, CreditPack, GringottsConfig, charge, db
from sqlalchemy import create_engine

POOL_SIZE = 40
"""Its handlers run in 40 threads, and the default pool of 15 makes them wait for each other."""

db.SessionLocal.configure(bind=create_engine(db.DATABASE_URL, pool_size=POOL_SIZE, max_overflow=0))
app = FastAPI()
gringotts.init_app(
    app,
    GringottsConfig(
        packs=[CreditPack(credits=100, price_cents=500, name="Starter")],
        idempotency_replay_validator=lambda _scope: True,
    ),
)


@app.post("/api/plan-plays", status_code=201)
def create(user: CreditedUser = Depends(charge(1))) -> dict[str, str]:  # noqa: B008 - its documented form
    """Charge a credit."""
    return {"result": "created"}
