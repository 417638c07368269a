"""get-plans in FastAPI, SQLAlchemy and pydantic, as their documentation has it. Run by uvicorn. No token is checked.

Environment: POSTGRES_DSN.
"""

import os
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, DateTime, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Of the tables."""


class PlanRow(Base):
    """A plan as it is stored."""

    __tablename__ = "plan"
    plan_id: Mapped[str] = mapped_column(primary_key=True)
    plan_name: Mapped[str]
    description: Mapped[str]
    collection_id: Mapped[str]
    color: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    associated_documents: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    associated_supplemental_benefits: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class Document(BaseModel):
    """A document of a plan."""

    model_config = ConfigDict(from_attributes=True)
    document_id: str
    document_name: str


class Benefit(BaseModel):
    """A benefit of a plan."""

    supplemental_benefit_id: str
    benefit_name: str


class Plan(BaseModel):
    """A plan as it is answered."""

    model_config = ConfigDict(from_attributes=True)
    plan_id: str
    plan_name: str
    description: str
    collection_id: str
    color: str
    created_at: datetime
    updated_at: datetime
    associated_documents: list[Document]
    associated_supplemental_benefits: list[Benefit]


class Plans(BaseModel):
    """The answer."""

    statusCode: int = 200
    data: list[Plan]
    message: str = "OKAY"


class Wanted(BaseModel):
    """The body."""

    collection_id: str | None = None


engine = create_async_engine(os.environ["POSTGRES_DSN"].replace("postgresql://", "postgresql+asyncpg://"))
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=1024)


@app.post("/get-plans")
async def get_plans(wanted: Wanted) -> Plans:
    """Read, validate, encode."""
    query = select(PlanRow)
    if wanted.collection_id is not None:
        query = query.where(PlanRow.collection_id == wanted.collection_id)
    async with sessions() as session:
        rows = await session.scalars(query)
        return Plans(data=[Plan.model_validate(row) for row in rows])
