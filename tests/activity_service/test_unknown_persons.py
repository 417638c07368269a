"""Whoever asks for the data of nobody is told so, and the person whom it was about stays unnamed."""

import pytest

from tests.activity_service.activity import Activity
from tests.activity_service.test_personal_data import MARKED, charged, create_marked
from tests.operator_command import run_command


@pytest.mark.parametrize("verb", [("export",), ("erase", "--yes")])
@pytest.mark.parametrize(
    ("client", "person", "said"),
    [
        ("nobody", ("--user", "marked-user"), "--client: there is nothing of a client nobody here"),
        ("nobody", ("--email", MARKED["email"]), "--client: there is nothing of a client nobody here"),
        ("client-a", ("--user", "marked-usr"), "--user: client client-a has nothing of this person here"),
        ("client-a", ("--email", MARKED["email"]), "--email: client client-a has nothing of this person here"),
    ],
)
async def test_a_person_or_client_who_is_not_there_is_told_by_option_and_never_by_name(
    activity: Activity, activity_dsn: str, verb: tuple[str, ...], client: str, person: tuple[str, str], said: str
) -> None:
    await create_marked(activity)
    await charged(activity, 1)
    before = await activity.rows("plan_play")
    done = await run_command("activity", activity_dsn, "users", *verb, "--client", client, *person)
    assert (done.code, done.output, done.trace) == (1, "", f"activity_service: {said}\n")
    assert await activity.rows("plan_play") == before
