"""The README's tour with clients made by openapi-python-client. Run by tests/openapi/check_clients.py."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import activity_api
import catalog_api
import metering_api
from activity_api.api.plan_plays import create_plan_play, list_plan_plays, update_plan_play
from activity_api.models import NewPlanPlay, OnePlanPlay, PlanPlayChanges, PlanPlayList, Refusal
from activity_api.models.plan_play_changes_status_type_0 import PlanPlayChangesStatusType0 as NewStatus
from catalog_api.api.plans import get_plans
from catalog_api.api.tokens import generate_client_auth_token
from catalog_api.models import GetPlans, TokenRequest
from metering_api.api.accounts import get_balance
from metering_api.models import Balance

STACK = json.loads(Path(os.environ["STACK_JSON"]).read_text())


def fetch_token(client_id: str) -> str:
    wanted = TokenRequest(client_id=client_id, client_secret=f"{client_id}-secret", fingerprint="tour")
    answer: Any = generate_client_auth_token.sync(
        client=catalog_api.Client(base_url=STACK["catalog"]["url"]), body=wanted
    )
    token: str = answer.data.access_token
    return token


def create(client: Any, plan_id: str, **fields: Any) -> Any:
    return create_plan_play.sync(
        client=client, body=NewPlanPlay(plan_id=plan_id, **fields), idempotency_key=secrets.token_hex(8)
    )


def main() -> None:
    token = fetch_token("demo")
    catalog = catalog_api.AuthenticatedClient(base_url=STACK["catalog"]["url"], token=token)
    plans: Any = get_plans.sync(client=catalog, body=GetPlans(collection_id="collection-123"))
    assert ("plan-abc-123", "Basic Plan") in [(plan.plan_id, plan.plan_name) for plan in plans.data]

    activity = activity_api.AuthenticatedClient(base_url=STACK["activity"]["url"], token=token)
    created = create(activity, "plan-abc-123", user_id="user-1", planned_lessons=["lesson-1"])
    assert isinstance(created, OnePlanPlay), created
    completed = update_plan_play.sync(created.data.id, client=activity, body=PlanPlayChanges(status=NewStatus.ENDED))
    assert isinstance(completed, OnePlanPlay), completed
    assert completed.data.completed_at is not None
    newest = list_plan_plays.sync(client=activity, status="ended", limit=1)
    assert isinstance(newest, PlanPlayList), newest
    assert newest.data[0].id == created.data.id

    poor = activity_api.AuthenticatedClient(base_url=STACK["activity"]["url"], token=fetch_token("demo-credits"))
    answers = [create(poor, "plan-abc-123") for _ in range(6)]
    assert isinstance(answers[-1], Refusal), answers[-1]
    assert answers[-1].code == "api_balance_exhausted"
    assert answers[-1].retry_after_seconds is None

    metering = metering_api.AuthenticatedClient(
        base_url=STACK["metering"]["url"], token=STACK["service_keys"]["admin"]
    )
    balance = get_balance.sync("demo", client=metering)
    assert isinstance(balance, Balance), balance
    assert balance.available > 0
    print("openapi-python-client: token, plans, play, completion, refusal and balance as the README says")


main()
