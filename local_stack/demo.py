"""The demo's clients, policies and plans: data only.

Its secrets stand here and in every terminal that starts a stack: fit for a loopback address, and for nothing else.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog_service.plans.plan import Plan

PAID_EVENTS = {"plan_play.created": 1, "plan_play.completed": 1}
"""Credits for each billable event of a prepaid client."""


@dataclass(frozen=True, slots=True)
class DemoClient:
    """A client that the demo registers, with what it may do. `policy` is the body of PUT /internal/policies/{id}."""

    client_id: str
    policy: dict[str, object]
    credits: int = 0
    may_read_all_clients: bool = False

    @property
    def policy_id(self) -> str:
        """Every client has a policy of its own, so that one can be changed without the others."""
        return self.client_id

    @property
    def client_secret(self) -> str:
        """Easily remembered, because the tour is typed by people."""
        return f"{self.client_id}-secret"


def _policy(
    *, rate: tuple[int, int] | None = None, quota: int | None = None, prices: dict[str, int] | None = None
) -> dict[str, object]:
    """Build a policy. `rate` is requests a minute and burst; `quota` events a month; `prices` make it prepaid."""
    return {
        "rates": [{"name": "per minute", "limit": rate[0], "periodSeconds": 60, "burst": rate[1]}] if rate else [],
        "quotas": [{"name": "monthly plays", "limit": quota, "period": "month"}] if quota else [],
        "prices": prices or {"*": 0},
        "credits": "prepaid" if prices else "unlimited",
        "mode": "enforce",
    }


CLIENTS = (
    DemoClient("demo", _policy(rate=(60, 100), prices=PAID_EVENTS), credits=1000),
    # One gate each, and no other that could refuse first: each shows its own refusal.
    DemoClient("demo-rate", _policy(rate=(2, 3))),
    DemoClient("demo-quota", _policy(quota=5)),
    DemoClient("demo-credits", _policy(prices=PAID_EVENTS), credits=3),
    DemoClient("demo-unlimited", _policy()),
    DemoClient("demo-partner", _policy(rate=(60, 100), prices=PAID_EVENTS), credits=1000, may_read_all_clients=True),
)
"""The last one has a grant: metering is seeded from first to last, so its grant says that all is there."""


def _plan(created_at: str = "2024-01-13T08:10:00Z", **fields: Any) -> Plan:
    """Make a plan of the client `demo`, which nobody has changed."""
    created = datetime.fromisoformat(created_at)
    return Plan(created_at=created, updated_at=created, **fields)


# The first two are those of the document that the API comes from, to the letter.
PLANS = (
    _plan(
        "2024-01-15T10:30:00Z",
        plan_id="plan-abc-123",
        plan_name="Basic Plan",
        description="This is a basic plan",
        collection_id="collection-123",
        color="#FF5733",
    ),
    _plan(
        "2024-01-14T09:20:00Z",
        plan_id="plan-def-456",
        plan_name="Premium Plan",
        description="This is a premium plan",
        collection_id="collection-123",
        color="#33FF57",
        associated_documents=[{"document_id": "doc-123", "document_name": "Plan Document 1"}],
    ),
    _plan(
        plan_id="plan-ghi-789",
        plan_name="Family Plan",
        description="For a household of up to six",
        collection_id="collection-456",
        color="#FF9800",
        associated_documents=[
            {"document_id": "doc-456", "document_name": "Household Terms"},
            {"document_id": "doc-457", "document_name": "Summary of Benefits"},
        ],
        associated_supplemental_benefits=[
            {"supplemental_benefit_id": "benefit-1", "benefit_name": "Dental"},
            {"supplemental_benefit_id": "benefit-2", "benefit_name": "Vision"},
        ],
    ),
    _plan(
        plan_id="plan-jkl-012",
        plan_name="Starter Plan",
        description="Ten lessons to begin with",
        collection_id="collection-456",
        color="#9C27B0",
    ),
)
