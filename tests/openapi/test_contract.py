"""Nobody breaks a published document in silence."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.openapi.breaking_changes import Change, find_breaking_changes
from tests.openapi.contract import find_unnamed_changes, is_named, list_unreleased, locate, write
from tests.openapi.documents import Document, publish

APPLICATIONS = tuple(publish())
PLAYS = "POST /api/plan-plays"


@pytest.mark.parametrize("service", APPLICATIONS)
def test_breaking_changes_are_named_in_the_changelog(service: str) -> None:
    assert find_unnamed_changes(service) == []


@pytest.mark.parametrize("service", APPLICATIONS)
def test_docs_api_holds_the_present_document(service: str) -> None:
    assert locate(service).read_text() == write(publish()[service]), "make openapi writes it anew"


def body(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["NewPlanPlay"]
    return found


def play(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["PlanPlay"]
    return found


def create(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"]["/api/plan-plays"]["post"]
    return found


BREAKS: list[tuple[str, Callable[[Document], object]]] = [
    ("", lambda document: document["paths"].pop("/api/plan-plays")),
    ("operationId", lambda document: create(document).update(operationId="make_play")),
    ("userId", lambda document: body(document)["required"].append("userId")),
    ("userId", lambda document: body(document)["properties"].pop("userId")),
    ("userId", lambda document: body(document)["properties"]["userId"].update(type="string")),
    ("planId", lambda document: body(document)["properties"]["planId"].update(maxLength=10)),
    ("photoURL", lambda document: play(document)["properties"].pop("photoURL")),
    ("photoURL", lambda document: play(document)["required"].remove("photoURL")),
    ("status", lambda document: play(document)["properties"]["status"]["enum"].append("lost")),
    ("planId", lambda document: play(document)["properties"]["planId"].update(type=["string", "null"])),
    ("429", lambda document: create(document)["responses"].pop("429")),
    ("Idempotency-Key", lambda document: create(document)["parameters"].pop(0)),
    ("Idempotency-Key", lambda document: create(document)["parameters"][0].update(required=True)),
]


@pytest.mark.parametrize(("name", "change"), BREAKS)
def test_what_callers_would_notice_is_a_breaking_change(name: str, change: Callable[[Document], object]) -> None:
    old = publish()["activity"]
    new = copy.deepcopy(old)
    change(new)
    found = find_breaking_changes(old, new)
    assert name in [change.name for change in found if change.operation == PLAYS]


def test_growth_breaks_nobody() -> None:
    old = publish()["activity"]
    new = copy.deepcopy(old)
    body(new)["properties"]["colour"] = {"type": "string"}
    body(new)["properties"]["planId"]["maxLength"] = 1000
    play(new)["properties"]["colour"] = {"type": "string"}
    create(new)["responses"]["418"] = create(new)["responses"]["400"]
    new["paths"]["/api/more"] = new["paths"]["/api/plan-plays"]
    assert find_breaking_changes(old, new) == []
    assert find_breaking_changes(old, old) == []


def test_a_change_is_named_by_call_and_thing_in_one_item_of_unreleased() -> None:
    change = Change(PLAYS, "planId", "is required now")
    text = "# Changes\n\n## Unreleased\n\n- `POST /api/plan-plays`\n- `planId`\n\n## 1.0.0\n\n- `{}`: `planId`\n"
    assert not is_named(change, list_unreleased(text.format(PLAYS)))
    named = text.replace("- `planId`", f"- `{PLAYS}`: `planId`\n  must be sent.")
    assert is_named(change, list_unreleased(named))
    assert is_named(Change(PLAYS, "", "is gone"), list_unreleased(named))
