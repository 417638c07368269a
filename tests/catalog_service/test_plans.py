"""What can be done to a plan, and what comes out."""

from typing import Any

from tests.catalog_service.catalog import PLAN, Catalog

DOCUMENT = {"document_id": "doc-1", "document_name": "Overview"}
BENEFIT = {"supplemental_benefit_id": "ben-1", "benefit_name": "Dental"}


async def test_a_created_plan_is_answered_listed_and_shown_alike(catalog: Catalog) -> None:
    token = await catalog.token()
    plan = await catalog.sync(token, **PLAN, associated_documents=[DOCUMENT])
    assert plan == {
        **PLAN,
        "plan_id": plan["plan_id"],
        "created_at": "2030-01-02T03:04:05.678900Z",
        "updated_at": "2030-01-02T03:04:05.678900Z",
        "associated_documents": [DOCUMENT],
        "associated_supplemental_benefits": [],
    }
    assert await catalog.plans(token) == [plan]
    details = {"statusCode": 200, "data": plan, "message": "OKAY"}
    assert await catalog.call("/get-plan-details", {"plan_id": plan["plan_id"]}, token) == (200, details)


async def test_a_change_replaces_what_it_names_and_nothing_else(catalog: Catalog) -> None:
    token = await catalog.token()
    plan = await catalog.sync(
        token, **PLAN, associated_documents=[DOCUMENT], associated_supplemental_benefits=[BENEFIT]
    )
    catalog.clock.move(minutes=1)
    other = {"document_id": "doc-2", "document_name": "Terms"}
    changed = await catalog.sync(token, plan_id=plan["plan_id"], color="red", associated_documents=[other])
    updated_at = "2030-01-02T03:05:05.678900Z"
    assert changed == {**plan, "color": "red", "associated_documents": [other], "updated_at": updated_at}
    emptied = await catalog.sync(token, plan_id=plan["plan_id"], associated_supplemental_benefits=[])
    assert emptied == {**changed, "associated_supplemental_benefits": []}
    assert await catalog.plans(token) == [emptied]


async def test_a_deleted_plan_is_gone(catalog: Catalog) -> None:
    token = await catalog.token()
    plan_id = (await catalog.sync(token, **PLAN))["plan_id"]
    assert await catalog.sync(token, plan_id=plan_id, is_delete=True) == {"plan_id": plan_id}
    for path, body in [
        ("/get-plan-details", {"plan_id": plan_id}),
        ("/sync-plan", {"plan_id": plan_id, "color": "red"}),
        ("/sync-plan", {"plan_id": plan_id, "is_delete": True}),
    ]:
        assert (await catalog.call(path, body, token))[1]["message"] == "Plan not found"
    assert await catalog.plans(token) == []


async def test_a_collection_holds_its_own_plans_and_an_unknown_one_is_empty(catalog: Catalog) -> None:
    token = await catalog.token()
    for name, collection_id in [("a", "col-1"), ("b", "col-2"), ("c", "col-1")]:
        await catalog.sync(token, **{**PLAN, "plan_name": name, "collection_id": collection_id})
    assert [plan["plan_name"] for plan in await catalog.plans(token, "col-1")] == ["a", "c"]
    assert [plan["plan_name"] for plan in await catalog.plans(token, "col-2")] == ["b"]
    empty = {"statusCode": 200, "data": [], "message": "OKAY"}
    assert await catalog.call("/get-plans", {"collection_id": "col-9"}, token) == (200, empty)


async def test_without_a_collection_or_a_body_every_plan_is_listed(catalog: Catalog) -> None:
    token = await catalog.token()
    for name, collection_id in [("a", "col-1"), ("b", "col-2")]:
        await catalog.sync(token, **{**PLAN, "plan_name": name, "collection_id": collection_id})
    for body in (None, {}, {"collection_id": None}, {"something": "else"}):
        _, answer = await catalog.call("/get-plans", body, token)
        assert sorted(plan["plan_name"] for plan in answer["data"]) == ["a", "b"]


async def test_unknown_fields_are_ignored(catalog: Catalog) -> None:
    token = await catalog.token()
    plan = await catalog.sync(token, **PLAN, owner="me", associated_documents=[{**DOCUMENT, "size": 1}])
    assert plan["associated_documents"] == [DOCUMENT]
    assert "owner" not in plan


async def test_any_text_comes_back_as_it_went_in(catalog: Catalog) -> None:
    token = await catalog.token()
    text = "Привет\n\t\"'\\ \u2028 \U0001f600 </script> ﷽"
    plan = await catalog.sync(token, **{**PLAN, "description": text, "plan_name": "x" * 200})
    assert (await catalog.plans(token))[0] == plan
    assert plan["description"] == text


WRONG_PLANS: list[tuple[Any, str]] = [
    ({}, "plan_name: Must be there."),
    ({**PLAN, "color": None}, "color: Must not be null."),
    ({**PLAN, "color": 7}, "color: Must be a string."),
    ({**PLAN, "plan_name": ""}, "plan_name: Must be 1 to 200 characters."),
    ({**PLAN, "plan_name": "x" * 201}, "plan_name: Must be 1 to 200 characters."),
    ({**PLAN, "associated_documents": {}}, "associated_documents: Must be an array."),
    ({**PLAN, "associated_documents": [1]}, "associated_documents.0: Must be an object."),
    ({**PLAN, "associated_documents": [DOCUMENT] * 2}, "associated_documents: Must not repeat a document_id."),
    (
        {**PLAN, "associated_supplemental_benefits": [BENEFIT, {"supplemental_benefit_id": "2"}]},
        "associated_supplemental_benefits.1.benefit_name: Must be there.",
    ),
    (
        {**PLAN, "associated_supplemental_benefits": [BENEFIT] * 2},
        "associated_supplemental_benefits: Must not repeat a supplemental_benefit_id.",
    ),
    ({"plan_id": "p"}, "body: Give at least one field to change beside plan_id."),
    ({"plan_id": "p", "is_delete": False}, "body: Give at least one field to change beside plan_id."),
    ({"plan_id": "p", "color": None}, "color: Must not be null."),
    ({"is_delete": True}, "plan_id: Must be there."),
    ({"is_delete": "yes", "plan_id": "p"}, "is_delete: Must be true or false."),
    ([PLAN], "body: Must be a JSON object."),
]


async def test_a_wrong_plan_is_refused_by_field_and_changes_nothing(catalog: Catalog) -> None:
    token = await catalog.token()
    for body, message in WRONG_PLANS:
        status, answer = await catalog.call("/sync-plan", body, token)
        assert (status, answer["data"]) == (400, {})
        assert answer["message"].startswith(message)
    assert await catalog.plans(token) == []


WRONG_QUESTIONS: list[tuple[str, Any, str]] = [
    ("/get-plans", {"collection_id": 5}, "collection_id: Must be a string."),
    ("/get-plans", {"collection_id": "x" * 129}, "collection_id: Must be 0 to 128 characters."),
    ("/get-plan-details", {}, "plan_id: Must be there."),
    ("/get-plan-details", {"plan_id": None}, "plan_id: Must not be null."),
]


async def test_a_wrong_question_is_refused_by_field(catalog: Catalog) -> None:
    token = await catalog.token()
    for path, body, message in WRONG_QUESTIONS:
        answer = await catalog.call(path, body, token)
        assert answer == (400, {"statusCode": 400, "data": {}, "message": message})


async def test_many_wrong_elements_make_no_long_message(catalog: Catalog) -> None:
    token = await catalog.token()
    _, answer = await catalog.call("/sync-plan", {**PLAN, "associated_documents": [1] * 400}, token)
    assert answer["message"].count("Must be an object.") == 10
