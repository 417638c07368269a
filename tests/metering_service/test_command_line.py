"""Operators' mistakes are answered with a line that helps, and change nothing."""

from pathlib import Path

import orjson
import pytest

from local_stack.processes import REPOSITORY
from tests.metering_service.conftest import Metering, event
from tests.operator_command import Done, run_command

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"
"""What is found in the arguments is found before a database is asked."""


def ended_plainly(done: Done, code: int) -> bool:
    return done.code == code and "Traceback" not in done.trace


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ("grant", "", "5", "--grant-id", "g"),
            "client_id: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (
            ("grant", "acme", "5", "--grant-id", ""),
            "--grant-id: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (
            ("grant", "acme", "5", "--grant-id", "g" * 256),
            "--grant-id: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (("assign", "..", "free"), "client_id: must be 1 to 255 printable characters, and neither . nor .. alone"),
        (
            ("void-grant", "acme", "\udcff", "--reason", "x"),
            "grant_id: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (("quota", "acme", "--user", "\udcff"), "--user: must be text in UTF-8"),
        (("users", "erase", "--client", "acme", "--user", "\udcff", "--yes"), "--user: must be text in UTF-8"),
        (("assign", "a\nb", "free"), "client_id: must be 1 to 255 printable characters, and neither . nor .. alone"),
        (("audit", "--unresolved-after-seconds", "inf"), "--unresolved-after-seconds: must be at most 1000000000.0"),
        (("grant", "acme", "five", "--grant-id", "g"), "credits: must be a whole number"),
        (("grant", "acme", "0", "--grant-id", "g"), "credits: must be at least 1"),
        (("grant", "acme", "--grant-id", "g"), "credits: must be given"),
        (("grant", "acme", "5"), "--grant-id: must be given"),
        (("grant", "acme", "5", "--grant-id"), "--grant-id needs a value"),
        (("grant", "acme", "5", "--grant-idd", "g"), "no such option: --grant-idd (Possible options: --grant-id)"),
        (
            ("grant", "acme", "5", "--grant-id", "g", "--note", "x" * 1001),
            "--note: must be 1 to 1000 printable characters and line ends",
        ),
        (
            ("refund", "acme", "e", "--refund-id", "r", "--reason", "a\x1bb"),
            "--reason: must be 1 to 1000 printable characters and line ends",
        ),
        (
            ("grant-recurring", "acme", "5", "--recurring-id", "r", "--starts-at", "0001-01-01"),
            "--starts-at: must lie in the years 1900 to 9998",
        ),
        (("usage", "acme", "--from", "9999-12-31"), "--from: must lie in the years 1900 to 9998"),
        (("export", "usage", "acme", "--to", "9999-12-31"), "--to: must lie in the years 1900 to 9998"),
        (
            ("assign", "acme", "free", "--until", "2027-01-01", "--then", "a\nb"),
            "--then: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (
            ("assign", "acme", "free", "--shadow", ""),
            "--shadow: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (
            ("quota", "acme", "--default-policy", "a\nb"),
            "--default-policy: must be 1 to 255 printable characters, and neither . nor .. alone",
        ),
        (("adjust", "acme", "5", "-x"), "no such option: -x"),
        (("balance", "-5x"), "no such option: -5"),
        (("export", "ledger", "acme", "--format", "xml"), "--format: must be csv or ndjson"),
        (("usage", "acme", "--from", "soon"), "--from: must be written as 2026-07-01"),
    ],
)
async def test_what_cannot_be_used_is_one_line_that_names_the_argument(
    arguments: tuple[str, ...], fault: str
) -> None:
    done = await run_command("metering", NO_DATABASE, *arguments)
    assert ended_plainly(done, 2), done
    group = 2 if arguments[0] in ("export", "users") else 1
    place = " ".join(("python -m metering_service", *arguments[:group]))
    assert done.trace == f"{place}: {fault} (see --help)\n"


async def test_a_file_that_is_no_text_is_one_line(metering_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(b"\x80\xff")
    done = await run_command("metering", metering_dsn, "policies", "put", "gold", str(file))
    assert ended_plainly(done, 1), done
    assert len(done.trace.splitlines()) == 1


async def test_a_malformed_database_url_is_no_verdict_and_tells_no_password() -> None:
    done = await run_command("metering", "postgresql://metering:pass:word@127.0.0.1:port/metering", "audit")
    assert ended_plainly(done, 3), done
    assert "word" not in done.trace


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            b'{"prices": {"a": 1, "a": 2}, "credits": "prepaid"}',
            "Must not repeat a name in an object, and repeats 'a'.",
        ),
        (b'{"prices": {"a": 1.5}}', "prices.a: Must be an integer from 0 to 1000000000."),
        (b'{"prices": 1}', "prices: Must be an object."),
        (b'{"prices": null}', "prices: Must not be null."),
        (b'{"prices": {"*": 0}, "price": {}}', "price: Unknown field. Did you mean prices?"),
        (b'{"prices": {"*": 0}, "rates": [5]}', "rates.0: Must be an object."),
        (b"[]", "Must be a JSON object."),
        (b"{", "character 2: Must be valid JSON in UTF-8."),
        (b'{"prices":\n {"*": 0},\n}\n', "line 2, column 10: Must be valid JSON in UTF-8."),
        ('{"prices": {"*": 0}}'.encode("utf-16-le"), "must be UTF-8, and is UTF-16: save it as UTF-8"),
    ],
)
async def test_what_is_wrong_in_a_policys_file_is_named_by_field(
    metering_dsn: str, tmp_path: Path, content: bytes, fault: str
) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(content)
    done = await run_command("metering", metering_dsn, "policies", "put", "gold", str(file))
    assert ended_plainly(done, 1), done
    assert done.trace.strip() == f"metering_service: {file}: {fault}"


async def test_a_policys_file_may_begin_with_a_byte_order_mark(metering_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(b'\xef\xbb\xbf{"prices": {"*": 0}}')
    assert (await run_command("metering", metering_dsn, "policies", "put", "gold", str(file))).code == 0


async def test_putting_a_policy_shows_which_version_it_is_and_from_when_on_a_narrow_screen(metering_dsn: str) -> None:
    example = REPOSITORY / "docs" / "examples" / "policy.json"
    done = await run_command("metering", metering_dsn, "policies", "put", "starter", str(example))
    headings, row = done.output.splitlines()
    assert headings.split() == ["policyId", "version", "effectiveAt"]
    assert row.split()[:2] == ["starter", "1"]
    assert len(row) < 80


@pytest.mark.parametrize("command", ["balance", "ledger"])
async def test_a_client_that_nobody_ever_heard_of_is_named(metering_dsn: str, command: str) -> None:
    done = await run_command("metering", metering_dsn, command, "nobody")
    assert ended_plainly(done, 1), done
    assert "nobody" in done.trace


async def test_a_policy_that_is_not_there_is_named(metering_dsn: str) -> None:
    done = await run_command("metering", metering_dsn, "assign", "acme", "glod", "--create")
    assert ended_plainly(done, 1), done
    assert "glod" in done.trace
    assert (await run_command("metering", metering_dsn, "assign", "acme", "free", "--create", "--json")).code == 0


@pytest.mark.parametrize("command", [("policies", "show"), ("policies", "cancel-booked")])
async def test_a_policy_that_is_not_there_to_show_is_named(metering_dsn: str, command: tuple[str, ...]) -> None:
    done = await run_command("metering", metering_dsn, *command, "glod")
    assert ended_plainly(done, 1), done
    assert "glod" in done.trace
    assert len(done.trace.splitlines()) == 1


async def test_a_negative_number_is_a_number(metering_dsn: str) -> None:
    options = ("--adjustment-id", "a", "--reason", "r")
    assert (
        await run_command("metering", metering_dsn, "grant", "acme", "9", "--grant-id", "g", "--create")
    ).code == 0
    assert (await run_command("metering", metering_dsn, "adjust", "acme", "-5", *options)).code == 0
    done = await run_command("metering", metering_dsn, "grant", "acme", "-5", "--grant-id", "h")
    assert ended_plainly(done, 2), done
    assert "credits: must be at least 1" in done.trace
    for written in (("adjust", *options[:2], "--reason", "-7", "--", "acme", "-2"), ("balance", "-5")):
        done = await run_command("metering", metering_dsn, *written)
        assert done.code == 1, done
    assert "Client -5 is not known" in done.trace


async def test_quotas_holds_and_administrative_changes_can_be_looked_at(
    metering: Metering, metering_dsn: str
) -> None:
    await metering.give("client-a", grant=9, quotas=[{"name": "q", "limit": 5, "period": "month"}])
    [held] = await metering.authorize(event("client-a"))
    assert held["decision"] == "granted"

    async def look(*arguments: str) -> str:
        done = await run_command("metering", metering_dsn, *arguments)
        assert done.code == 0, done
        return done.output

    [quota] = orjson.loads(await look("quota", "client-a", "--json"))
    assert (quota["limit"], quota["used"], quota["held"]) == (5, 0, 1)
    assert (await run_command("metering", metering_dsn, "quota", "nobody")).code == 1
    assert await look("holds") == "none\n"
    assert held["holdId"] in await look("holds", "--older-than-seconds", "0")
    assert await look("holds", "--older-than-seconds", "0", "--service", "another") == "none\n"
    [assigned, *_] = orjson.loads(await look("admin-audit", "client-a", "--json"))
    assert (assigned["actor"], assigned["action"]) == ("ops", "grant")
    done = await run_command("metering", metering_dsn, "admin-audit", "nobody")
    assert ended_plainly(done, 1)
    assert "no change of nobody" in done.trace


async def test_the_example_policy_is_accepted_as_it_stands(metering_dsn: str) -> None:
    example = REPOSITORY / "docs" / "examples" / "policy.json"
    done = await run_command("metering", metering_dsn, "policies", "put", "starter", str(example), "--json")
    assert done.code == 0, done.trace
    version = orjson.loads(done.output)
    assert (version["version"], version["warnings"]) == (1, [])
    done = await run_command("metering", metering_dsn, "assign", "acme", "starter", "--create")
    assert (done.code, "starter" in done.output) == (0, True)
    done = await run_command("metering", metering_dsn, "assign", "acne", "starter")
    assert ended_plainly(done, 1)
    assert "did you mean acme?" in done.trace


async def test_a_version_can_be_booked_and_taken_back(metering_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    for price in (1, 2):
        file.write_text(f'{{"prices": {{"*": {price}}}}}')
        options = () if price == 1 else ("--effective-at", "2999-01-01")
        assert (await run_command("metering", metering_dsn, "policies", "put", "gold", str(file), *options)).code == 0
    shown = await run_command("metering", metering_dsn, "policies", "show", "gold", "--json")
    assert orjson.loads(shown.output)[0]["effectiveAt"].startswith("2999")
    assert (await run_command("metering", metering_dsn, "policies", "cancel-booked", "gold")).code == 0
    done = await run_command("metering", metering_dsn, "policies", "cancel-booked", "gold")
    assert ended_plainly(done, 1)
    done = await run_command("metering", metering_dsn, "policies", "put", "gold", str(file), "--effective-at", "soon")
    assert ended_plainly(done, 2)


async def test_what_is_wrong_in_an_assignment_is_named_and_what_is_booked_is_readable(metering_dsn: str) -> None:
    assert (await run_command("metering", metering_dsn, "assign", "acme", "free", "--create")).code == 0
    done = await run_command("metering", metering_dsn, "assign", "acme", "free", "--until", "2999-01-01")
    assert ended_plainly(done, 1)
    assert done.trace.strip() == "metering_service: then: Must be there: until needs then."
    done = await run_command(
        "metering", metering_dsn, "assign", "acme", "free", "--until", "2999-01-01", "--then", "free"
    )
    assert done.code == 0
    assert "policyId free, from 2999-01-01 00:00:00, until" in done.output
