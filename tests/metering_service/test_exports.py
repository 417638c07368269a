"""A client's ledger and usage leave metering whole, in forms that others read, whatever commits meanwhile."""

import asyncio
import csv
import io
import uuid
from typing import Any

import asyncpg
import orjson
import pytest

from metering_service.accounts import administer
from metering_service.accounts.ledger_store import LedgerStore
from service_chassis.rows import RowFormat, RowWriter
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

LEDGER = "/internal/clients/acme/ledger"
USAGE = "/internal/clients/acme/usage"


async def fetch(metering: Metering, path: str, **headers: str) -> tuple[int, str, str]:
    """Return status, content type and text."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", **headers}
    async with metering.clients[0].get(path, headers=headers) as response:
        return response.status, response.content_type, await response.text()


async def export_lines(metering: Metering, after: int = 0) -> list[dict[str, Any]]:
    status, _, text = await fetch(metering, f"{LEDGER}/export?format=ndjson&after={after}")
    assert status == 200, text
    return [orjson.loads(line) for line in text.splitlines()]


async def charge(metering: Metering, *events: dict[str, Any]) -> None:
    await metering.authorize(*events)
    await metering.settle_by_ids(*events)


async def test_a_ledger_is_exported_whole_and_as_the_command_writes_it(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administer, "STREAMED_ENTRIES", 2)
    await metering.give("acme", grant=10)
    await charge(metering, *(event(userId=f"user-{number}") for number in range(6)))
    entries = (await metering.admin("GET", LEDGER))["entries"]
    assert await export_lines(metering) == entries
    assert await export_lines(metering, after=entries[3]["entryId"]) == entries[4:]
    assert await export_lines(metering, after=entries[-1]["entryId"]) == []

    status, content_type, text = await fetch(metering, f"{LEDGER}/export")
    assert (status, content_type) == (200, "text/csv")
    assert [int(row["entryId"]) for row in csv.DictReader(io.StringIO(text))] == [
        entry["entryId"] for entry in entries
    ]
    done = await run_command("metering", metering.dsn, "export", "ledger", "acme")
    assert done.output.splitlines() == text.splitlines()
    assert (await fetch(metering, f"{LEDGER}/export", Accept="application/x-ndjson"))[1] == "application/x-ndjson"


async def test_a_transaction_held_open_is_never_skipped_by_who_goes_on_after_the_last_line(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=10)
    await metering.give("other", grant=10)
    seen = await export_lines(metering)
    connection = await asyncpg.connect(metering.dsn)
    transaction = connection.transaction()
    await transaction.start()
    store = LedgerStore(connection)
    await store.lock_account("acme")
    body = {"grantId": "second", "credits": 1}
    second = asyncio.create_task(metering.admin("POST", "/internal/clients/acme/grants", body))
    async with asyncio.timeout(10):
        while not await metering.fetch("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert not second.done(), "a line was written beside one that is not committed"
    assert await store.take_adjusted("acme", "late", 5, reason="test", actor="ops", now=clock())
    held = await store.fetch_entry("acme", "adjust", "late")
    assert held is not None
    # Lines of others get later numbers and are there at once.
    await charge(metering, event("other"))
    assert (await metering.spends("other"))[0]["entryId"] > held.entry_id
    assert await export_lines(metering, after=seen[-1]["entryId"]) == []
    await transaction.commit()
    await connection.close()
    await second
    later = await export_lines(metering, after=seen[-1]["entryId"])
    # Whoever waited has not got its number before: else it could have come below one that was read.
    assert [line["reference"] for line in later] == ["late", "second"]


async def test_going_on_after_the_last_line_beside_many_writers_gets_each_line_once(
    start_metering: StartMetering,
) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", grant=1000)
    got: list[int] = []

    async def write(process: int) -> None:
        for _ in range(15):
            attempts = [event() for _ in range(3)]
            await metering.authorize(*attempts, process=process)
            await metering.settle_by_ids(*attempts, process=process)
            body = {"grantId": str(uuid.uuid4()), "credits": 1}
            await metering.admin("POST", "/internal/clients/acme/grants", body)

    writers = [asyncio.create_task(write(number % 2)) for number in range(4)]
    while True:
        is_over = all(writer.done() for writer in writers)
        got += [line["entryId"] for line in await export_lines(metering, after=got[-1] if got else 0)]
        if is_over:
            break
    await asyncio.gather(*writers)
    rows = await metering.fetch("SELECT entry_id FROM ledger_entry WHERE client_id = 'acme' ORDER BY entry_id")
    assert got == [entry_id for (entry_id,) in rows]
    assert len(got) == 1 + 4 * 15 * 4


async def test_usage_is_exported_by_day_and_type_with_a_column_for_each_code(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=2)
    await charge(metering, event(), event())
    await metering.authorize(event())
    async with asyncio.timeout(20):
        while not (await metering.admin("GET", USAGE))["usage"][0]["refused"]:
            pass  # written once a second, and no event tells of it
    clock.advance(days=1)
    await charge(metering, event(eventType="free"))
    path = f"{USAGE}/export?from=2026-03-30&to=2026-04-30"
    rows = list(csv.DictReader(io.StringIO((await fetch(metering, path))[2])))
    assert [
        (row["window"], row["eventType"], row["charged"], row["refused.api_balance_exhausted"]) for row in rows
    ] == [
        ("2026-03-31", "plan_play.created", "2", "1"),
        ("2026-04-01", "free", "1", ""),
    ]
    _, content_type, text = await fetch(metering, f"{path}&format=ndjson")
    whole = await metering.admin("GET", f"{USAGE}?from=2026-03-30&to=2026-04-30")
    assert [orjson.loads(line) for line in text.splitlines()] == whole["usage"]
    assert content_type == "application/x-ndjson"


FORMULAS = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)"]


@pytest.mark.parametrize("text", FORMULAS)
async def test_no_text_of_an_export_is_a_formula_to_a_spreadsheet(metering: Metering, text: str) -> None:
    await metering.give("acme", grant=10)
    body = {"adjustmentId": "a", "credits": -5, "reason": text}
    await metering.admin("POST", "/internal/clients/acme/adjustments", body)
    [_, row] = csv.DictReader(io.StringIO((await fetch(metering, f"{LEDGER}/export"))[2], newline=""))
    # Numbers stay numbers.
    assert (row["note"], row["credits"]) == (f"'{text}", "-5")
    assert (await export_lines(metering))[-1]["note"] == text


@pytest.mark.parametrize("text", [*FORMULAS, "\t=1", "\r=1"])
def test_a_formula_is_none_behind_what_a_spreadsheet_leaves_out_either(text: str) -> None:
    writer = RowWriter(RowFormat.CSV, ["a"])
    [row] = csv.DictReader(io.StringIO((writer.head + writer.write([{"a": text}])).decode(), newline=""))
    assert row["a"] == f"'{text}"


def test_other_texts_are_written_as_they_are() -> None:
    writer = RowWriter(RowFormat.CSV, ["a", "b.c", "b.d"])
    assert writer.head + writer.write([{"a": 'x="y", z', "b": {"c": 1}}, {"a": "é\nf"}]) == (
        'a,b.c,b.d\r\n"x=""y"", z",1,\r\n"é\nf",,\r\n'.encode()
    )


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"{LEDGER}/export?format=xml", 400, "format"),
        (f"{LEDGER}/export?after=-1", 400, "after"),
        (f"{LEDGER}/export?from=2026-01-01", 400, "from"),
        (f"{USAGE}/export?from=2026-13-01", 400, "from"),
        (f"{USAGE}/export?from=2020-01-01&to=2026-03-02", 400, "to"),
        ("/internal/clients/acmee/ledger/export", 404, "did you mean acme?"),
        ("/internal/clients/acmee/usage/export", 404, "did you mean acme?"),
    ],
)
async def test_what_cannot_be_exported_is_said_before_anything_is_sent(
    metering: Metering, path: str, status: int, said: str
) -> None:
    await metering.give("acme")
    found, content_type, text = await fetch(metering, path)
    assert (found, content_type, said in text) == (status, "application/json", True), text
