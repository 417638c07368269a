"""Charges with their receipts in PostgreSQL, by when they were made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metering_service.events.decision import Receipt
from metering_service.events.event_store import OF_A_CHARGE, OF_ITS_VERSION, read_receipt
from service_chassis.database.store import Store


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """The charge of one event. `user_id` is None without a user, and of an erased one."""

    entry_id: int
    at: datetime
    event_id: str
    user_id: str | None
    receipt: Receipt

    def as_document(self) -> dict[str, Any]:
        """Return the charge as JSON values, for callers and operators alike."""
        return {
            "kind": "charge",
            "at": self.at,
            "eventType": self.receipt.event_type,
            "userId": self.user_id,
            "eventId": self.event_id,
            "units": self.receipt.units,
            "credits": self.receipt.credits,
            "late": self.receipt.is_late,
            "receipt": self.receipt.as_document(),
        }


class ChargeStore(Store):
    """The table `ledger_entry` as it is looked at by time, through one connection that the caller holds."""

    # By the index ledger_entry_by_time, in its order.
    _LIST_CHARGES = f"""
        SELECT r.entry_id, r.at, r.event_id, nullif(r.user_id, ''), {OF_A_CHARGE}
        FROM ledger_entry r {OF_ITS_VERSION}
        WHERE r.client_id = $1 AND r.units IS NOT NULL AND r.at >= $2 AND r.at < $3 AND (r.at, r.entry_id) < ($4, $5)
        ORDER BY r.at DESC, r.entry_id DESC
        LIMIT $6
    """

    async def list_charges(
        self, client_id: str, since: datetime, until: datetime, before: tuple[datetime, int], limit: int
    ) -> Sequence[ChargeLine]:
        """Return a client's charges from `since` up to `until`, newest first, from before (at, entry_id) on."""
        rows = await self._connection.fetch(self._LIST_CHARGES, client_id, since, until, *before, limit)
        return [
            ChargeLine(entry_id, at, event_id, user_id, read_receipt(*receipt))
            for entry_id, at, event_id, user_id, *receipt in rows
        ]
