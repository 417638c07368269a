"""Put many plans into the catalog at once: all of them or none."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from catalog_service.api.plan_schemas import ImportedPlanSchema
from catalog_service.clients.store import ClientStore
from catalog_service.database import begin_for
from catalog_service.errors import ClientNotFound
from catalog_service.plans.plan import Plan, make_plan_id
from catalog_service.plans.store import PlanStore
from service_chassis.clock import Clock, system_clock
from service_chassis.errors import InvalidRequest, OperatorError
from service_chassis.http.json_body import load

_ROWS_A_STATEMENT = 500
_MOST_FAULTS = 20
"""How many wrong rows are listed; a file of the wrong kind has as many as it has rows."""
_SCHEMA = ImportedPlanSchema()

ReportProgress = Callable[[str, int], None]
"""Called with the name of the stage, "checking" or "writing", and how many rows have passed it."""


class InvalidPlans(OperatorError):
    """Rows that are no plans; `faults` has each one's index and what is wrong with it."""

    def __init__(self, faults: Sequence[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"row {index + 1}: {fault}" for index, fault in faults))
        self.faults = tuple(faults)


async def import_plans(
    pool: asyncpg.Pool,
    client_id: str,
    plans: Sequence[Mapping[str, Any]],
    *,
    clock: Clock = system_clock,
    report: ReportProgress = lambda _stage, _done: None,
) -> int:
    """Write `plans`, as callers of `sync-plan` would send them, and answer how many there were.

    A plan whose `plan_id` the client has already is replaced; one without gets a new id.
    Raises InvalidPlans or ClientNotFound, and has then written nothing.
    """
    checked = sorted(_check(plans, clock(), report), key=lambda plan: plan.plan_id)
    async with begin_for(pool, client_id, timeout_seconds=None) as connection:
        store = PlanStore(connection)
        if not await ClientStore(connection).list_states([client_id]):
            raise ClientNotFound(client_id)
        for start in range(0, len(checked), _ROWS_A_STATEMENT):
            await store.upsert_plans(client_id, checked[start : start + _ROWS_A_STATEMENT])
            report("writing", min(start + _ROWS_A_STATEMENT, len(checked)))
        # Last: the lock that it takes keeps other writers of this client waiting until the commit.
        await store.bump_version(client_id)
    return len(checked)


def _check(plans: Sequence[Mapping[str, Any]], now: datetime, report: ReportProgress) -> list[Plan]:
    checked: list[Plan] = []
    faults: list[tuple[int, str]] = []
    first_with: dict[str, int] = {}
    for index, row in enumerate(plans):
        try:
            plan = _read_row(row, now)
        except InvalidRequest as error:
            faults.append((index, "; ".join(f"{detail.field}: {detail.message}" for detail in error.details)))
        else:
            checked.append(plan)
            if first_with.setdefault(plan.plan_id, index) != index:
                faults.append((index, "plan_id: Stands in an earlier row too."))
        if len(faults) == _MOST_FAULTS:
            break
        if (index + 1) % _ROWS_A_STATEMENT == 0 or index + 1 == len(plans):
            report("checking", index + 1)
    if faults:
        raise InvalidPlans(faults)
    return checked


def _read_row(row: Mapping[str, Any], now: datetime) -> Plan:
    given = load(_SCHEMA, row)
    given.setdefault("plan_id", make_plan_id())
    return Plan(**given, created_at=now, updated_at=now)
