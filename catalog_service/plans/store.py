"""Plans in PostgreSQL. Every statement names the client: a plan's id alone finds nothing.

Reads tell row-level security the client by themselves; writes are within a transaction of `tenancy.begin_for`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from catalog_service.errors import PlanNotFound
from catalog_service.plans.plan import Associated, Plan
from service_chassis.database.store import Store
from service_chassis.database.tenancy import CALLER

_COLUMNS = """plan_id, plan_name, description, collection_id, color, created_at, updated_at,
              associated_documents, associated_supplemental_benefits"""
_COLUMNS_OF_PLAN = ", ".join(f"plan.{name.strip()}" for name in _COLUMNS.split(","))


class PlanStore(Store):
    """The table `plan`, and the version that `client` keeps of it, through one connection that the caller holds.

    Whoever writes also calls `bump_version`, last and in the same transaction: the version's row lock makes the
    writers of one client commit one after the other, so that two states of its plans never share a version.
    Leaves open: two changes of one plan at once; each field has the value of the later one.
    """

    _FETCH_PLAN = f"""
        SELECT {_COLUMNS_OF_PLAN} FROM {CALLER} CROSS JOIN LATERAL (
            SELECT {_COLUMNS} FROM plan WHERE client_id = caller.client_id AND plan_id = $2 OFFSET 0
        ) AS plan
    """

    async def fetch_plan(self, client_id: str, plan_id: str) -> Plan:
        """Return one plan of the client. Raises PlanNotFound, for another client's plan too."""
        return _read_found(await self._connection.fetchrow(self._FETCH_PLAN, client_id, plan_id))

    # One statement is one snapshot: the version belongs to exactly these rows. A client without plans is one row.
    _LIST_PLANS = f"""
        SELECT plan.plans_version, {_COLUMNS_OF_PLAN}
        FROM {CALLER} CROSS JOIN LATERAL (
            SELECT client.plans_version, plan.*
            FROM client LEFT JOIN plan ON plan.client_id = client.client_id
            WHERE client.client_id = caller.client_id OFFSET 0
        ) AS plan
    """
    _LIST_COLLECTION = f"""
        SELECT plan.plans_version, {_COLUMNS_OF_PLAN}
        FROM {CALLER} CROSS JOIN LATERAL (
            SELECT client.plans_version, plan.*
            FROM client LEFT JOIN plan ON plan.client_id = client.client_id AND plan.collection_id = $2
            WHERE client.client_id = caller.client_id OFFSET 0
        ) AS plan
    """

    async def list_plans(self, client_id: str, collection_id: str | None) -> tuple[int, "UnreadPlans"]:
        """Return the version of the client's plans and those of one collection, or all, of just that version.

        Raises LookupError for an unknown client.
        """
        if collection_id is None:
            rows = await self._connection.fetch(self._LIST_PLANS, client_id)
        else:
            rows = await self._connection.fetch(self._LIST_COLLECTION, client_id, collection_id)
        if not rows:
            raise LookupError("no such client")
        return rows[0]["plans_version"], UnreadPlans(rows)

    _UPSERT_PLANS = """
        INSERT INTO plan (client_id, plan_id, plan_name, description, collection_id, color, created_at, updated_at,
                          associated_documents, associated_supplemental_benefits)
        SELECT $1, *
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                    $9::jsonb[], $10::jsonb[])
        ON CONFLICT ON CONSTRAINT plan_pkey DO UPDATE
        SET plan_name = excluded.plan_name, description = excluded.description,
            collection_id = excluded.collection_id, color = excluded.color, updated_at = excluded.updated_at,
            associated_documents = excluded.associated_documents,
            associated_supplemental_benefits = excluded.associated_supplemental_benefits
    """

    async def upsert_plans(self, client_id: str, plans: Sequence[Plan]) -> None:
        """Add plans with distinct ids; one that is there already is replaced, but for its `created_at`.

        Give them in the order of their ids: two writers that lock the same rows then wait instead of deadlocking.
        """
        columns = zip(
            *(
                (
                    plan.plan_id,
                    plan.plan_name,
                    plan.description,
                    plan.collection_id,
                    plan.color,
                    plan.created_at,
                    plan.updated_at,
                    _write_json(plan.associated_documents),
                    _write_json(plan.associated_supplemental_benefits),
                )
                for plan in plans
            ),
            strict=True,
        )
        await self._connection.execute(self._UPSERT_PLANS, client_id, *columns)

    _UPDATE_PLAN = f"""
        UPDATE plan
        SET plan_name = coalesce($3, plan_name), description = coalesce($4, description),
            collection_id = coalesce($5, collection_id), color = coalesce($6, color),
            associated_documents = coalesce($7, associated_documents),
            associated_supplemental_benefits = coalesce($8, associated_supplemental_benefits),
            updated_at = greatest($9, updated_at)
        WHERE client_id = $1 AND plan_id = $2
        RETURNING {_COLUMNS}
    """

    async def update_plan(self, client_id: str, plan_id: str, fields: Mapping[str, Any], now: datetime) -> Plan:
        """Replace `fields`, leave the others, and return the plan as it then is. Raises PlanNotFound."""
        row = await self._connection.fetchrow(
            self._UPDATE_PLAN,
            client_id,
            plan_id,
            fields.get("plan_name"),
            fields.get("description"),
            fields.get("collection_id"),
            fields.get("color"),
            _write_json(fields.get("associated_documents")),
            _write_json(fields.get("associated_supplemental_benefits")),
            now,
        )
        return _read_found(row)

    _DELETE_PLAN = "DELETE FROM plan WHERE client_id = $1 AND plan_id = $2 RETURNING plan_id"

    async def delete_plan(self, client_id: str, plan_id: str) -> None:
        """Delete a plan. Raises PlanNotFound."""
        if await self._connection.fetchval(self._DELETE_PLAN, client_id, plan_id) is None:
            raise PlanNotFound

    _BUMP_VERSION = "UPDATE client SET plans_version = plans_version + 1 WHERE client_id = $1"

    async def bump_version(self, client_id: str) -> None:
        """Say that the client's plans are others than before."""
        await self._connection.execute(self._BUMP_VERSION, client_id)


class UnreadPlans:
    """Rows of plans, made into plans only by `read`, which another thread can do: many take a while."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def read(self) -> list[Plan]:
        """Return the plans."""
        return [_read_plan(row) for row in self._rows if row["plan_id"] is not None]


def _read_plan(row: Any) -> Plan:
    return Plan(
        plan_id=row["plan_id"],
        plan_name=row["plan_name"],
        description=row["description"],
        collection_id=row["collection_id"],
        color=row["color"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        associated_documents=_read_json(row["associated_documents"]),
        associated_supplemental_benefits=_read_json(row["associated_supplemental_benefits"]),
    )


def _read_found(row: Any) -> Plan:
    if row is None:
        raise PlanNotFound
    return _read_plan(row)


def _read_json(text: str) -> Associated:
    # Most plans have none.
    associated: Associated = () if text == "[]" else orjson.loads(text)
    return associated


def _write_json(associated: Associated | None) -> str | None:
    return None if associated is None else orjson.dumps(associated).decode()
