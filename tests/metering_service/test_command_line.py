"""Operators' mistakes are answered with a line that helps, and change nothing."""

from pathlib import Path

import pytest

from tests.operator_command import Done, run_command


def ended_plainly(done: Done, code: int) -> bool:
    return done.code == code and "Traceback" not in done.trace


@pytest.mark.parametrize(
    "arguments",
    [
        ("grant", "", "5", "--grant-id", "g"),
        ("grant", "acme", "5", "--grant-id", ""),
        ("grant", "acme", "5", "--grant-id", "g" * 256),
        ("assign", "a\nb", "free"),
        ("audit", "--unresolved-after-seconds", "inf"),
    ],
)
async def test_what_the_api_refuses_the_command_line_refuses(metering_dsn: str, arguments: tuple[str, ...]) -> None:
    done = await run_command("metering", metering_dsn, *arguments)
    assert ended_plainly(done, 2), done
    assert "Invalid value" in done.trace


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
