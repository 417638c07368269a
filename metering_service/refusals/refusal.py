"""What is kept of refusals: how many there were of a kind in a minute, and the first and the last receipt. Pure."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from metering_service.events.decision import Decision, Receipt
from metering_service.events.event import BillableEvent

NAMED_USERS = 100
"""Of a client, in a minute, by name; all others together, so that a flood leaves a bounded number of rows."""


class RefusalKey(NamedTuple):
    """What refusals are counted by. `limit` is the name of the rate or quota, '' where it was none of them.

    `user_id` is '' for events without a user, for users beyond the first ones of the minute, and for erased ones.
    """

    client_id: str
    minute: datetime
    event_type: str
    code: str
    limit: str
    user_id: str


@dataclass(slots=True)
class Refusals:
    """Refusals of one kind in one minute, with the receipts of the first and the last.

    `resets_at` is when the period of the quota that refused ends, None where it was none.
    """

    count: int
    first_at: datetime
    last_at: datetime
    first_receipt: Receipt
    last_receipt: Receipt
    resets_at: datetime | None


class RefusalLog:
    """Adds up refusals until they are taken away to be stored."""

    def __init__(self) -> None:
        self._refusals: dict[RefusalKey, Refusals] = {}
        self._users: dict[tuple[str, datetime], set[str]] = {}

    def note(self, event: BillableEvent, decision: Decision) -> None:
        """Count a denied event."""
        receipt, at = decision.receipt, decision.held_at
        if receipt is None or at is None or decision.code is None:
            return
        minute = at.replace(second=0, microsecond=0)
        user_id = event.user_id or ""
        if user_id:
            users = self._users.setdefault((event.client_id, minute), set())
            if user_id not in users and len(users) >= NAMED_USERS:
                user_id = ""
            else:
                users.add(user_id)
        key = RefusalKey(
            event.client_id, minute, event.event_type, decision.code, receipt.find_limit(decision.code), user_id
        )
        found = self._refusals.get(key)
        if found is None:
            self._refusals[key] = Refusals(1, at, at, receipt, receipt, decision.find_reset(key.limit))
        else:
            found.count += 1
            found.last_at, found.last_receipt = at, receipt

    def take_all(self) -> dict[RefusalKey, Refusals]:
        """Return what was counted, and begin anew. Users of the minutes before the last one are forgotten."""
        taken, self._refusals = self._refusals, {}
        if taken:
            last = max(key.minute for key in taken)
            self._users = {key: users for key, users in self._users.items() if key[1] >= last}
        return taken


FirstKey = tuple[str, str, str, datetime]
"""What a first refusal is told of: client, code, name of the limit, and the end of the period."""


def list_first(
    taken: Mapping[RefusalKey, Refusals], told: Container[FirstKey] = frozenset()
) -> dict[FirstKey, dict[str, Any]]:
    """Return the first refusal of each client by code and limit, as the notices that are to be written of them.

    Each is told once in its quota's period, and where no quota refused, in the UTC month: not those `told` already.
    """
    first: dict[FirstKey, dict[str, Any]] = {}
    for key, refusals in taken.items():
        ends_at = refusals.resets_at or _end_month(refusals.first_at)
        about = key.client_id, key.code, key.limit, ends_at
        if about in told or (about in first and first[about]["at"] <= refusals.first_at):
            continue
        receipt = refusals.first_receipt
        first[about] = {
            "client_id": key.client_id,
            "key": f"{key.code} {key.limit} {ends_at:%Y-%m-%dT%H:%M:%SZ}",
            "at": refusals.first_at,
            "ends_at": ends_at,
            "data": {
                "policyId": receipt.policy_id,
                "policyVersion": receipt.policy_version,
                "code": key.code,
                "limit": key.limit or None,
                "eventType": key.event_type,
            },
        }
    return first


def _end_month(moment: datetime) -> datetime:
    month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (month + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """Refusals of one kind in one minute, as they are kept."""

    minute: datetime
    event_type: str
    code: str
    limit: str
    user_id: str
    count: int
    first_at: datetime
    last_at: datetime
    first_receipt: dict[str, Any]
    last_receipt: dict[str, Any]

    def as_document(self) -> dict[str, Any]:
        """Return the line as JSON values, for callers and operators alike."""
        return {
            "minute": self.minute,
            "eventType": self.event_type,
            "code": self.code,
            "limit": self.limit or None,
            "userId": self.user_id or None,
            "count": self.count,
            "firstAt": self.first_at,
            "lastAt": self.last_at,
            "firstReceipt": self.first_receipt,
            "lastReceipt": self.last_receipt,
        }
