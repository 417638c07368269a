"""What metering says of a client's usage is believed only as it was agreed."""

import copy
from typing import Any

import pytest

from metering_client.errors import MalformedResponse
from metering_client.usage import read_decision_page, read_summary
from tests.activity_service.activity import Activity

AT = "2026-03-31T22:00:00Z"
SUMMARY: dict[str, Any] = {
    "usage": [{"eventType": "t", "charged": 1, "credits": 2, "refused": {"a": 3, "b": 4}, "lastAt": AT}],
    "prices": {"t": 2},
    "quotas": [{"name": "q", "limit": 5, "used": 1, "resetsAt": AT, "held": 0}],
    "balance": {"available": -1, "held": 0, "expiringNext": {"credits": 3, "at": AT, "grantId": "g"}},
}
REFUSAL: dict[str, Any] = {"code": "c", "limit": None, "count": 2, "firstAt": AT, "firstReceipt": {}}
ENTRY: dict[str, Any] = {"kind": "refusal", "at": AT, "eventType": "t", "userId": None, "receipt": {}, **REFUSAL}


def change(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    *parents, name = path.split(".")
    place: Any = changed
    for parent in parents:
        place = place[int(parent) if isinstance(place, list) else parent]
    place[name] = value
    return changed


def test_what_was_agreed_is_read_and_the_rest_left_out() -> None:
    summary = read_summary(SUMMARY)
    assert (summary.types["t"].refused, summary.price_of("t"), summary.price_of("other")) == (7, 2, None)
    assert summary.quotas == [{"name": "q", "limit": 5, "used": 1, "resetsAt": AT}]
    assert summary.balance == {"available": -1, "held": 0, "expiringNext": {"credits": 3, "at": AT}}
    page = read_decision_page({"decisions": [{**ENTRY, "internal": 1}], "nextCursor": None})
    assert page.entries == [ENTRY]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("usage", {}),
        ("usage.0.charged", -1),
        ("usage.0.refused", None),
        ("usage.0.refused.a", "3"),
        ("usage.0.lastAt", "yesterday"),
        ("prices", []),
        ("prices.t", True),
        ("quotas.0.limit", None),
        ("balance", []),
        ("balance.available", 1.5),
        ("balance.expiringNext", {}),
    ],
)
def test_any_other_summary_is_none(path: str, value: Any) -> None:
    with pytest.raises(MalformedResponse):
        read_summary(change(SUMMARY, path, value))


@pytest.mark.parametrize(("path", "value"), [("kind", "grant"), ("kind", None), ("at", "x"), ("code", ...)])
def test_any_other_entry_is_none(path: str, value: Any) -> None:
    entry = {name: each for name, each in change(ENTRY, path, value).items() if each is not ...}
    with pytest.raises(MalformedResponse):
        read_decision_page({"decisions": [entry], "nextCursor": None})


async def test_nonsense_from_metering_is_503_and_counted(activity: Activity) -> None:
    # The double knows no such call: 404.
    reply = await activity.call("GET", "/api/client/client-a/api-usage/summary")
    assert (reply.status, reply.json) == (503, {"error": "Usage cannot be read at the moment"})
    assert "Retry-After" in reply.headers
    assert activity.metric("activity_metering_failures_total", call="summarize") == 1
