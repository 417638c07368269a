"""Whether metering answers to our key is asked at the start and every minute, and told once."""

import structlog

from activity_service.billing.metering_check import MeteringCheck
from tests.activity_service.activity import Activity

SERIES = "activity_metering_accepts_key"


async def test_a_key_that_metering_does_not_know_is_a_log_line_and_a_metric(activity: Activity) -> None:
    check = MeteringCheck(activity.components.sweeper.metering, activity.components.sweeper.metrics)
    await check.run_once()
    assert activity.metric(SERIES) == 1
    with structlog.testing.capture_logs() as logs:
        activity.metering.says["list_held"] = (401, b"")
        for _ in range(3):
            await check.run_once()
        assert activity.metric(SERIES) == 0
        del activity.metering.says["list_held"]
        await check.run_once()
    assert activity.metric(SERIES) == 1
    assert [(each["event"], each.get("status"), each.get("accepts_our_key")) for each in logs] == [
        ("metering_call_refused", 401, None),
        ("metering_check", None, False),
        ("metering_check", None, True),
    ]
