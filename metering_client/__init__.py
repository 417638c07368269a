"""Meter an endpoint of one's own: authorize, commit the fact and its fence in one transaction, be charged once.

    async with open_billing(pool, url=URL, key=KEY, event_types={"llm.tokens"}) as billing:
        async with billing.authorize("llm.tokens", uuid4(), client_id="acme", units=4000) as hold:
            answer = await complete(prompt, max_tokens=4000)
            async with pool.acquire() as connection, hold.charge(connection, units=answer.tokens):
                await connection.execute("INSERT INTO completion ...", hold.event_id, ...)

docs/meter-your-endpoint.md is the guide; docs/billing.md says why it is so.
"""

from metering_client.audit import AuditFacts
from metering_client.billing import Billing, BillingTimes, open_billing
from metering_client.charges_client import ChargesClient
from metering_client.errors import (
    BillingError,
    EventConflict,
    EventInvalid,
    EventNotSold,
    EventRefused,
    FactExists,
    HoldAbandoned,
    MeteringSlow,
    MeteringUnavailable,
)
from metering_client.event import BillableEvent, Fact, Grant
from metering_client.fence_store import insert_fences
from metering_client.hold import Charge, Hold
from metering_client.limits import Limit, as_headers
from metering_client.metrics import BillingMetrics
from metering_client.outbox_store import OutboxStore
from metering_client.recharge import recharge_facts
from metering_client.tables import create_tables, stream_facts, write_sql

__all__ = [
    "AuditFacts",
    "BillableEvent",
    "Billing",
    "BillingError",
    "BillingMetrics",
    "BillingTimes",
    "Charge",
    "ChargesClient",
    "EventConflict",
    "EventInvalid",
    "EventNotSold",
    "EventRefused",
    "Fact",
    "FactExists",
    "Grant",
    "Hold",
    "HoldAbandoned",
    "Limit",
    "MeteringSlow",
    "MeteringUnavailable",
    "OutboxStore",
    "as_headers",
    "create_tables",
    "insert_fences",
    "open_billing",
    "recharge_facts",
    "stream_facts",
    "write_sql",
]
