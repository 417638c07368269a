"""Create, change, delete and fetch plans. Each write moves the client's plans to their next version with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from catalog_service.plans.plan import Plan, make_plan_id
from catalog_service.plans.store import PlanStore
from service_chassis.clock import Clock
from service_chassis.database.tenancy import begin_for


@dataclass(frozen=True, slots=True)
class SyncPlans:
    """Keeps a client's plans as the client says."""

    pool: asyncpg.Pool
    clock: Clock

    async def create(self, client_id: str, fields: Mapping[str, Any]) -> Plan:
        """Add a plan made of `fields` under a new id and return it."""
        now = self.clock()
        plan = Plan(plan_id=make_plan_id(), created_at=now, updated_at=now, **fields)
        async with begin_for(self.pool, client_id) as connection:
            store = PlanStore(connection)
            await store.upsert_plans(client_id, [plan])
            await store.bump_version(client_id)
        return plan

    async def change(self, client_id: str, plan_id: str, fields: Mapping[str, Any]) -> Plan:
        """Replace `fields`, leave the others as they are, and return the whole plan. Raises PlanNotFound."""
        async with begin_for(self.pool, client_id) as connection:
            store = PlanStore(connection)
            plan = await store.update_plan(client_id, plan_id, fields, self.clock())
            await store.bump_version(client_id)
        return plan

    async def delete(self, client_id: str, plan_id: str) -> None:
        """Delete a plan. Raises PlanNotFound, also the second time."""
        async with begin_for(self.pool, client_id) as connection:
            store = PlanStore(connection)
            await store.delete_plan(client_id, plan_id)
            await store.bump_version(client_id)

    async def fetch(self, client_id: str, plan_id: str) -> Plan:
        """Return one plan of the client. Raises PlanNotFound, for another client's plan too."""
        async with self.pool.acquire() as connection:
            return await PlanStore(connection).fetch_plan(client_id, plan_id)
