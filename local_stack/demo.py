"""The demo's clients, policies and plans: data only.

Its secrets stand here and in every terminal that starts a stack: fit for a loopback address, and for nothing else.
"""

from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """A plan of the client `demo`, with its documents and benefits as id and name."""

    plan_id: str
    plan_name: str
    description: str
    collection_id: str
    color: str
    created_at: str = "2024-01-13T08:10:00Z"
    documents: dict[str, str] = field(default_factory=dict)
    benefits: dict[str, str] = field(default_factory=dict)


# The first two are those of the document that the API comes from, to the letter.
PLANS = (
    DemoPlan(
        "plan-abc-123",
        "Basic Plan",
        "This is a basic plan",
        "collection-123",
        "#FF5733",
        created_at="2024-01-15T10:30:00Z",
    ),
    DemoPlan(
        "plan-def-456",
        "Premium Plan",
        "This is a premium plan",
        "collection-123",
        "#33FF57",
        created_at="2024-01-14T09:20:00Z",
        documents={"doc-123": "Plan Document 1"},
    ),
    DemoPlan(
        "plan-ghi-789",
        "Family Plan",
        "For a household of up to six",
        "collection-456",
        "#FF9800",
        documents={"doc-456": "Household Terms", "doc-457": "Summary of Benefits"},
        benefits={"benefit-1": "Dental", "benefit-2": "Vision"},
    ),
    DemoPlan("plan-jkl-012", "Starter Plan", "Ten lessons to begin with", "collection-456", "#9C27B0"),
)
