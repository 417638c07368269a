"""Everything that metering holds about one user."""

from typing import Any

import orjson

from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS
from service_chassis.database.store import Store

_STATEMENTS = {
    "charges": """
        SELECT entry_id, at, event_id, event_type, units, credits, counted_on AS day
        FROM ledger_entry WHERE client_id = $1 AND user_id = $2 ORDER BY entry_id""",
    "holds": """
        SELECT hold_id, event_id, event_type, units, credits, held_at
        FROM hold WHERE client_id = $1 AND user_id = $2 ORDER BY held_at, hold_id""",
    "quotas": """
        SELECT name, counts, starts_at, ends_at, used, held
        FROM counter WHERE client_id = $1 AND user_id = $2 ORDER BY starts_at, name""",
    "refusals": """
        SELECT minute, event_type, code, limit_name, refused, first_at, last_at, first_receipt, last_receipt
        FROM refusal WHERE client_id = $1 AND user_id = $2 ORDER BY minute, event_type, code, limit_name""",
    "shadow_quotas": """
        SELECT policy_id, name, starts_at, used
        FROM shadow_counter WHERE client_id = $1 AND user_id = $2 ORDER BY policy_id, starts_at, name""",
    "notices": """
        SELECT notice_id, kind, threshold::float8, at, ends_at, data
        FROM notice WHERE client_id = $1 AND user_id = $2 ORDER BY at, notice_id""",
}
_JSON_COLUMNS = ("first_receipt", "last_receipt", "data")


class PersonalDataStore(Store):
    """Reads the rows that name a user, whoever writes them, through one connection that the caller holds."""

    async def list_all(self, client_id: str, user_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return what names the user, oldest first, by kind. Reads all of the client's."""
        return {
            kind: [
                {column: orjson.loads(value) if column in _JSON_COLUMNS else value for column, value in row.items()}
                for row in await self._connection.fetch(
                    statement, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS
                )
            ]
            for kind, statement in _STATEMENTS.items()
        }
