"""What the console shows in tests and in the pictures of the documents: some clients, and days of theirs."""

import random
import uuid
from datetime import timedelta
from typing import Any

from tests.metering_service.conftest import Metering
from tests.metering_service.movable_clock import MovableClock

POLICIES: dict[str, dict[str, Any]] = {
    "starter": {
        "rates": [{"name": "per minute", "limit": 6000, "periodSeconds": 60, "burst": 6000}],
        "quotas": [{"name": "monthly plays", "limit": 2000, "period": "month", "eventTypes": ["plan_play.created"]}],
        "prices": {"plan_play.created": 3, "plan_play.completed": 1},
        "credits": "prepaid",
    },
    "scale": {
        "rates": [{"name": "per minute", "limit": 60000, "periodSeconds": 60, "burst": 60000}],
        "quotas": [
            {"name": "monthly tokens", "limit": 1_500_000, "counts": "units", "period": "month",
             "eventTypes": ["llm.tokens"], "overage": 100_000},
            {"name": "daily plays", "limit": 200, "period": "day", "eventTypes": ["plan_play.created"]},
        ],
        "prices": {"plan_play.created": 2, "plan_play.completed": 1, "llm.tokens": 1},
        "credits": {"overdraft": 5000},
    },
    "enterprise": {"prices": {"*": 0}, "credits": "unlimited"},
}  # fmt: skip

CLIENTS: tuple[tuple[str, str, int, dict[str, int]], ...] = (
    ("acme-learning", "starter", 6_000, {"plan_play.created": 55, "plan_play.completed": 38}),
    ("brightpath-schools", "starter", 4_200, {"plan_play.created": 24, "plan_play.completed": 15}),
    ("corvid-tutoring", "starter", 600, {"plan_play.created": 12, "plan_play.completed": 4}),
    ("dataworks-labs", "scale", 2_000_000, {"llm.tokens": 40, "plan_play.created": 30, "plan_play.completed": 22}),
    ("everest-academy", "enterprise", 0, {"plan_play.created": 70, "plan_play.completed": 51}),
    ("fernhill-college", "starter", 2_500, {"plan_play.created": 9, "plan_play.completed": 7}),
    ("globe-lingua", "scale", 900_000, {"llm.tokens": 22, "plan_play.created": 12}),
    ("harbor-prep", "starter", 1_200, {"plan_play.created": 10, "plan_play.completed": 6}),
)
"""Id, policy, what is granted at first, and events of an average day."""


async def make_business(metering: Metering, clock: MovableClock, days: int) -> None:
    """Have the clients do business for so many days, by the calls that a caller makes; the clock moves with them."""
    draw = random.Random(17)
    for policy_id, terms in POLICIES.items():
        await metering.admin("PUT", f"/internal/policies/{policy_id}", terms)
    for client_id, policy_id, credits, _ in CLIENTS:
        await metering.admin("PUT", f"/internal/clients/{client_id}/policy", {"policyId": policy_id, "create": True})
        if credits:
            await _grant(metering, client_id, "order-1001", credits, note="First order")
    await _grant(metering, "acme-learning", "spring-gift", 5500, expiresAt=_in_days(clock, days * 2 // 3))
    for day in range(days):
        weekday = clock.now.weekday()
        if day == days // 2:
            await _grant(metering, "acme-learning", "order-1044", 4000, note="Top-up by card")
        events = []
        for client_id, _, _, average in CLIENTS:
            for event_type, number in average.items():
                for _ in range(int(number * (0.45 if weekday > 4 else 1) * draw.uniform(0.75, 1.3))):
                    events.append(_make_event(draw, client_id, event_type))
        draw.shuffle(events)
        for start in range(0, len(events), 250):
            clock.advance(minutes=draw.uniform(5, 40))
            batch = events[start : start + 250]
            granted = {each["holdId"] for each in await metering.authorize(*batch) if each["decision"] == "granted"}
            await metering.settle_by_ids(*(each for each in batch if each["holdId"] in granted))
        if day < days - 1:
            clock.advance(hours=24 - clock.now.hour + 8, minutes=-clock.now.minute)


def _make_event(draw: random.Random, client_id: str, event_type: str) -> dict[str, Any]:
    attempt = {
        "holdId": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        "eventId": f"{event_type}:{uuid.UUID(int=draw.getrandbits(128), version=4)}",
        "clientId": client_id,
        "eventType": event_type,
        "userId": f"user-{draw.randint(1, 40)}",
    }
    return {**attempt, "units": draw.randint(200, 1800)} if event_type == "llm.tokens" else attempt


async def _grant(metering: Metering, client_id: str, grant_id: str, credits: int, **terms: Any) -> None:
    body = {"grantId": grant_id, "credits": credits, **terms}
    await metering.admin("POST", f"/internal/clients/{client_id}/grants", body)


def _in_days(clock: MovableClock, days: int) -> str:
    return (clock.now + timedelta(days=days)).isoformat().replace("+00:00", "Z")
