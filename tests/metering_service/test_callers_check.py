"""The activity service's check of its key says what a create would meet, and costs metering nothing."""

import aiohttp
import pytest

from metering_client.key_check import ask_metering
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, Metering, event


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (EVENTS_KEY, "accepts our key (status 200)"),
        (ADMIN_KEY, "does not let our key authorize events: its scope is not events (status 403)"),
        ("unknown", "does not know our key (status 401)"),
    ],
)
async def test_the_check_is_green_exactly_when_the_key_may_authorize(
    metering: Metering, key: str, words: str
) -> None:
    async with aiohttp.ClientSession() as session:
        state = await ask_metering(session, str(metering.clients[0].make_url("/")), key)
    status, _ = await metering.call(
        "POST", "/internal/events/authorize", {"events": [event()], "dryRun": True}, key=key
    )
    assert (state.accepts, state.words) == (status == 200, words)
    for table in ("account", "hold", "refusal"):
        assert await metering.fetch(f"SELECT FROM {table}") == []
