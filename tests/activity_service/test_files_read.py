"""Whoever follows a request reads few files: those of the service and its library that have a part in it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.activity_service.activity import Activity

ROOT = Path(__file__).parent.parent.parent
MOST_FILES_OF_A_CREATE = 8
MOST_FILES_OF_ITS_SETTLE = 4


@contextmanager
def files_of(package: str) -> Iterator[set[str]]:
    """Gather the files of a package in which anything is called."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT / package):
            files.add(str(path.relative_to(ROOT)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)


async def test_a_create_with_a_key_is_read_in_few_files_and_its_settle_in_fewer(activity: Activity) -> None:
    with files_of("activity_service") as of_create:
        reply = await activity.create(key="key-1")
    assert reply.status == 201
    assert {"activity_service/api/plan_plays.py", "activity_service/plays/idempotency.py"} <= of_create
    assert len(of_create) <= MOST_FILES_OF_A_CREATE, of_create
    with files_of("metering_client") as of_settle:
        await activity.settle_all()
    assert "metering_client/relay.py" in of_settle
    assert len(of_settle) <= MOST_FILES_OF_ITS_SETTLE, of_settle
