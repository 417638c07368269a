"""The parameters of a list call, strict where they mean something and deaf where they do not."""

import re
from dataclasses import dataclass

from multidict import MultiMapping

from activity_service.plays.plan_play import STATUSES
from service_chassis.errors import FieldError, InvalidRequest

MAX_LIMIT = 1000
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_NAMES = ("clientId", "userId", "status", "planId", "limit", "cursor")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What was asked for. Without `limit`: everything."""

    client_id: str | None
    user_id: str | None
    status: str | None
    plan_id: str | None
    limit: int | None
    cursor: str | None


def read_list_query(query: MultiMapping[str]) -> ListQuery:
    """Read the parameters; unknown ones are ignored. Raises InvalidRequest naming each that cannot be used."""
    faults: list[FieldError] = []
    values = {name: query.get(name) for name in _NAMES}
    for name, value in values.items():
        fault = _find_fault(name, value, len(query.getall(name, [])))
        if fault is not None:
            faults.append(FieldError(name, fault))
    if values["cursor"] is not None and values["limit"] is None:
        faults.append(FieldError("cursor", "Must come with a limit."))
    if faults:
        raise InvalidRequest(details=faults)
    limit = values["limit"]
    return ListQuery(
        client_id=values["clientId"],
        user_id=values["userId"],
        status=values["status"],
        plan_id=values["planId"],
        limit=int(limit) if limit is not None else None,
        cursor=values["cursor"],
    )


def _find_fault(name: str, value: str | None, times: int) -> str | None:
    if value is None:
        return None
    if times > 1:
        return "Must be given once."
    if "\x00" in value or not _is_unicode(value):
        return "Must be text in UTF-8 without NUL characters."
    if name == "status" and value not in STATUSES:
        return f"Must be one of: {', '.join(STATUSES)}."
    if name == "limit" and not (_LIMIT.fullmatch(value) and int(value) <= MAX_LIMIT):
        return f"Must be an integer from 1 to {MAX_LIMIT}."
    return None


def _is_unicode(value: str) -> bool:
    """Answer whether `value` is more than undecodable bytes in disguise."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
