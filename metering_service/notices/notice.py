"""What a notice says, and the event that it is sent as. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

Kind = Literal["quota", "balance", "refusal", "expiry"]


class State(StrEnum):
    """Where a webhook stands."""

    UNSENT = "unsent"
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


SOURCE = "/metering"
"""In each event: which context it is of (CloudEvents 1.0, `source`)."""
TYPES: Mapping[Kind, str] = {
    "quota": "metering.quota.reached",
    "balance": "metering.balance.reached",
    "refusal": "metering.usage.refused",
    "expiry": "metering.grant.expiring",
}
TEST_TYPE = "metering.webhook.test"
_ENDS_AS: Mapping[Kind, str] = {"quota": "resetsAt", "refusal": "resetsAt", "expiry": "expiresAt"}
"""What the end of a kind's period is called: until then the same is not told again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of a client, once. `threshold` is a fraction of a quota's limit, or credits of a balance.

    `user_id` is None where it is about no user, '' where the person was erased.
    """

    notice_id: UUID
    client_id: str
    kind: Kind
    threshold: Decimal
    user_id: str | None
    at: datetime
    ends_at: datetime | None
    data: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The event's type."""
        return TYPES[self.kind]

    def as_event(self) -> dict[str, Any]:
        """Return the notice as a CloudEvents 1.0 event, of JSON values; at each attempt the same, unless erased."""
        data: dict[str, Any] = {"clientId": self.client_id}
        if self.kind == "quota":
            data["threshold"] = float(self.threshold)
        elif self.kind == "balance":
            data["threshold"] = int(self.threshold)
        data |= self.data
        if self.user_id:
            data["userId"] = self.user_id
        if self.kind in _ENDS_AS:
            data[_ENDS_AS[self.kind]] = self.ends_at
        return render_event(self.notice_id, self.type, self.at, self.client_id, data)


def render_event(
    notice_id: UUID, event_type: str, at: datetime, subject: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a CloudEvents 1.0 event as JSON values."""
    return {
        "specversion": "1.0",
        "id": str(notice_id),
        "source": SOURCE,
        "type": event_type,
        "time": at,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }


@dataclass(frozen=True, slots=True)
class Webhook:
    """A notice on its way to a receiver; `receiver` is None where none was configured when it was written.

    `attempts` are those that failed, `last_error` is why the last of them did.
    """

    notice: Notice
    receiver: str | None
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    delivered_at: datetime | None
    dead_at: datetime | None

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.receiver is None:
            return State.UNSENT
        return State.DELIVERED if self.delivered_at else State.DEAD if self.dead_at else State.WAITING

    def as_document(self) -> dict[str, Any]:
        """Return the webhook as JSON values, for callers and operators alike."""
        return {
            "noticeId": self.notice.notice_id,
            "at": self.notice.at,
            "clientId": self.notice.client_id,
            "type": self.notice.type,
            "receiver": self.receiver,
            "state": self.state,
            "attempts": self.attempts,
            "nextAttemptAt": self.next_attempt_at,
            "lastError": self.last_error,
            "deliveredAt": self.delivered_at,
            "deadAt": self.dead_at,
            "event": self.notice.as_event(),
        }
