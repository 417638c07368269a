"""Create, change and delete plans. Each write moves the client's plans to their next version with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from catalog_service.database import begin_for, borrow_connection
from catalog_service.plans.plan import Plan, PlanChange, make_plan_id
from catalog_service.plans.store import PlanStore
from service_chassis.errors import NotFound

_PLAN_NOT_FOUND = "Plan not found"


async def create_plan(pool: asyncpg.Pool, client_id: str, fields: Mapping[str, Any], now: datetime) -> Plan:
    """Add a plan made of `fields` under a new id."""
    plan = Plan(plan_id=make_plan_id(), created_at=now, updated_at=now, **fields)
    async with begin_for(pool, client_id) as connection:
        store = PlanStore(connection)
        await store.upsert_plans(client_id, [plan])
        await store.bump_version(client_id)
    return plan


async def change_plan(pool: asyncpg.Pool, client_id: str, plan_id: str, change: PlanChange, now: datetime) -> Plan:
    """Apply `change` and answer the whole plan. Raises NotFound."""
    async with begin_for(pool, client_id) as connection:
        store = PlanStore(connection)
        plan = await store.update_plan(client_id, plan_id, change, now)
        if plan is None:
            raise NotFound(_PLAN_NOT_FOUND)
        await store.bump_version(client_id)
    return plan


async def delete_plan(pool: asyncpg.Pool, client_id: str, plan_id: str) -> None:
    """Delete a plan. Raises NotFound, also the second time."""
    async with begin_for(pool, client_id) as connection:
        store = PlanStore(connection)
        if not await store.delete_plan(client_id, plan_id):
            raise NotFound(_PLAN_NOT_FOUND)
        await store.bump_version(client_id)


async def fetch_plan(pool: asyncpg.Pool, client_id: str, plan_id: str) -> Plan:
    """Answer one plan of the client. Raises NotFound, for another client's plan too."""
    async with borrow_connection(pool) as connection:
        plan = await PlanStore(connection).fetch_plan(client_id, plan_id)
    if plan is None:
        raise NotFound(_PLAN_NOT_FOUND)
    return plan
