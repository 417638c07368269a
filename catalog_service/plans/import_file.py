"""Put the plans of a file into the catalog: all of them or none."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from marshmallow import RAISE, validates_schema

from catalog_service.clients.store import ClientStore
from catalog_service.errors import ClientNotFound, InvalidPlans
from catalog_service.plans.plan import Plan, make_plan_id
from catalog_service.plans.schema import (
    AssociatedBenefitSchema,
    AssociatedDocumentSchema,
    PlanFieldsSchema,
    associated,
    require_whole_plan,
)
from catalog_service.plans.store import PlanStore
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.tenancy import begin_for
from service_chassis.errors import InvalidRequest, say
from service_chassis.http.json_body import load
from service_chassis.schema.fields import UtcDateTime

_ROWS_A_STATEMENT = 500
_MOST_FAULTS = 20
"""How many wrong rows are listed; a file of the wrong kind has as many as it has rows."""

ReportProgress = Callable[[str, int], None]
"""Called with the name of the stage, "checking" or "writing", and how many rows have passed it."""


class ImportedPlanSchema(PlanFieldsSchema):
    """A whole plan of a file; with a `plan_id` it replaces the plan that has it.

    Unlike a caller of `sync-plan`, a person who wrote a field that there is not meant another one. A file may hold
    what `get-plans` answered: a plan that is new here keeps its `created_at`.
    """

    class Meta:
        """Marshmallow's options."""

        unknown = RAISE

    created_at = UtcDateTime()
    updated_at = UtcDateTime()
    associated_documents = associated(AssociatedDocumentSchema, "document_id", "raise")
    associated_supplemental_benefits = associated(AssociatedBenefitSchema, "supplemental_benefit_id", "raise")

    @validates_schema
    def _is_whole(self, data: dict[str, Any], **_: Any) -> None:
        require_whole_plan(data)


_SCHEMA = ImportedPlanSchema()


@dataclass(frozen=True, slots=True)
class ImportPlans:
    """Writes many plans of one client."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def write(
        self,
        client_id: str,
        plans: Sequence[Mapping[str, Any]],
        *,
        report: ReportProgress = lambda _stage, _done: None,
        may_double: bool = False,
        actor: str,
    ) -> int:
        """Write `plans`, as callers of `sync-plan` would send them, and return how many there were.

        A plan whose `plan_id` the client has already is replaced; one without gets a new id, and is refused where
        the client, or the file, has one of the same name in the same collection, unless `may_double`.
        Raises InvalidPlans or ClientNotFound, and has then written nothing.
        """
        in_order = _check(plans, self.clock(), report)
        checked = sorted(in_order, key=lambda plan: plan.plan_id)
        async with begin_for(self.pool, client_id) as connection:
            store = PlanStore(connection)
            if not await ClientStore(connection).list_states([client_id]):
                raise ClientNotFound(client_id)
            if not may_double:
                _, present = await store.list_plans(client_id, None)
                _refuse_doubles(plans, in_order, present.read())
            for start in range(0, len(checked), _ROWS_A_STATEMENT):
                await store.upsert_plans(client_id, checked[start : start + _ROWS_A_STATEMENT])
                report("writing", min(start + _ROWS_A_STATEMENT, len(checked)))
            # Last: the lock that it takes keeps other writers of this client waiting until the commit.
            await store.bump_version(client_id)
            await AdminAuditStore(connection).insert_line(
                self.clock(), actor, "import_plans", client_id, plans=len(checked)
            )
        return len(checked)


def _refuse_doubles(rows: Sequence[Mapping[str, Any]], plans: Sequence[Plan], present: Iterable[Plan]) -> None:
    """Raise InvalidPlans for rows without an id that name a plan which is there: imported again, all would double."""
    id_of = {_read_name(plan): plan.plan_id for plan in present}
    in_file: set[tuple[str, str]] = set()
    faults: list[tuple[int, str]] = []
    for index, (row, plan) in enumerate(zip(rows, plans, strict=True)):
        name = _read_name(plan)
        if "plan_id" not in row and name in id_of:
            faults.append(
                (index, f"plan_name: Is there already; give its plan_id ({id_of[name]}), or --allow-doubles.")
            )
        elif "plan_id" not in row and name in in_file:
            faults.append(
                (index, "plan_name: Stands in an earlier row too, of the same collection; see --allow-doubles.")
            )
        in_file.add(name)
    if faults:
        raise InvalidPlans(faults[:_MOST_FAULTS])


def _read_name(plan: Plan) -> tuple[str, str]:
    """Return what a person takes for a plan's name: nobody sees blanks at its ends, or two of them in it."""
    return " ".join(plan.plan_name.split()), plan.collection_id


def _check(plans: Sequence[Mapping[str, Any]], now: datetime, report: ReportProgress) -> list[Plan]:
    checked: list[Plan] = []
    faults: list[tuple[int, str]] = []
    first_with: dict[str, int] = {}
    for index, row in enumerate(plans):
        try:
            plan = _read_row(row, now)
        except InvalidRequest as error:
            faults.append((index, say(error)))
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
    # Importing is a change: it is made now, whatever the file says of an earlier one.
    return Plan(**{"created_at": now, **given, "updated_at": now})
