"""The operators' command line."""

import io
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from catalog_service.cli import clients
from catalog_service.cli.main import run

Run = Callable[..., str]
"""Runs a command that must work and answers what it printed."""


@pytest.fixture
def command(catalog_dsn: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("CATALOG_POSTGRES_DSN", catalog_dsn)
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        printed = capfd.readouterr()
        assert ended.value.code in (0, None), (ended.value.code, printed.err)
        assert printed.err == ""
        return printed.out

    return run_command


def failure(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return ended.value.code


def test_a_client_is_created_with_a_secret_that_is_shown_once(command: Run) -> None:
    created = json.loads(command("clients", "create", "acme", "--name", "Acme Ltd", "--json"))
    assert created["client_id"] == "acme"
    assert len(created["client_secret"]) == 43
    [listed] = json.loads(command("clients", "list", "--json"))
    assert listed.pop("created_at").endswith("Z")
    assert listed == {"client_id": "acme", "name": "Acme Ltd", "may_read_all_clients": False, "disabled_at": None}
    assert created["client_secret"] not in command("clients", "list")


def test_a_given_secret_is_kept_and_may_come_from_standard_input(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--name", "x", "--may-read-all-clients", "--json", "--secret")
    assert "sixteen-letters-" in command("clients", "create", "one", *arguments, "sixteen-letters-")
    for name, given in {"two": b"another-secret-1\r\n", "three": b"\xef\xbb\xbfanother-secret-2"}.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        secret = json.loads(command("clients", "create", name, *arguments, "-"))["client_secret"]
        assert secret == f"another-secret-{1 if name == 'two' else 2}"
    for given in (b"\n", b"one-secret-of-two\nanother-secret-1\n", b"\xff\xfea\x00"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        said = str(failure("clients", "create", "four", *arguments, "-"))
        assert said.startswith("catalog_service: standard input: must ")
        assert "secret" not in said
    assert [client["may_read_all_clients"] for client in json.loads(command("clients", "list", "--json"))] == [
        True
    ] * 3


def test_what_cannot_be_done_is_one_line_and_exit_1(command: Run) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    refusals = [
        (("clients", "create", "acme", "--name", "Acme"), "Client acme exists already"),
        (("clients", "create", "a b", "--name", "x"), "client_id: Must be 1 to 64"),
        (("clients", "create", "b", "--name", " "), "name: Must be 1 to 200"),
        (("clients", "create", "b", "--name", "x", "--secret", "short"), "secret: Must have 16 to 255"),
        (("clients", "create", "b", "--name", "x", "--secret", "with a space in it"), "secret: Must hold"),
        (("clients", "disable", "nobody"), "Client nobody is not known"),
        (("clients", "enable", "nobody"), "Client nobody is not known"),
        (("clients", "rotate-secret", "nobody"), "Client nobody is not known"),
        (("clients", "permit", "acne", "--may-read-all-clients"), "Client acne is not known; did you mean acme?"),
        (("secrets", "list", "acne"), "Client acne is not known; did you mean acme?"),
        (("secrets", "list", "no\nbody\x1b"), "Client no\\nbody\\x1b is not known"),
        (("secrets", "issue", "nobody"), "Client nobody is not known"),
        (("secrets", "issue", "acme", "--expires-at", "2020-01-01"), "expires_at: Must be in the future."),
        (("secrets", "revoke", "acme", "0" * 16), "Secret 0000000000000000 is not there"),
    ]
    for arguments, message in refusals:
        said = failure(*arguments)
        assert isinstance(said, str)  # which Python prints on stderr, with exit code 1
        assert said.startswith(f"catalog_service: {message}")
        assert "\n" not in said


def test_wrong_usage_is_exit_2(command: Run, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (("clients", "create"), ("nothing",), ("plans", "import", "missing.csv", "--client", "x")):
        assert failure(*arguments) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "python -m catalog_service clients create: ID: must be given (see --help)"
    assert len(said) == 3


def test_a_database_that_is_away_and_a_missing_setting_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_POSTGRES_DSN", "postgresql://nobody:marked@127.0.0.1:1/none")
    for arguments in (("clients", "list"), ("migrate",), ("keys", "rotate")):
        said = str(failure(*arguments))
        assert said.startswith("catalog_service: ")
        assert "\n" not in said
        assert "marked" not in said
    monkeypatch.delenv("CATALOG_POSTGRES_DSN")
    assert "CATALOG_POSTGRES_DSN" in str(failure("serve"))


def test_disabling_twice_and_enabling_are_seen_in_the_list(command: Run) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    seen = []
    for verb in ("disable", "disable", "enable"):
        told = json.loads(command("clients", verb, "acme", "--json"))
        assert told == {"client_id": "acme", "disabled": verb == "disable"}
        seen.append(json.loads(command("clients", "list", "--json"))[0]["disabled_at"])
    assert seen[0] == seen[1] is not None
    assert seen[2] is None


def test_a_rotated_secret_is_another_one(command: Run) -> None:
    first = json.loads(command("clients", "create", "acme", "--name", "Acme", "--json"))["client_secret"]
    second = json.loads(command("clients", "rotate-secret", "acme", "--json"))["client_secret"]
    third = command("clients", "rotate-secret", "acme", "--overlap-seconds", "0")
    assert len({first, second, third.split()[3]}) == 3


def test_secrets_are_issued_listed_and_revoked_one_by_one(command: Run) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    issued = json.loads(command("secrets", "issue", "acme", "--expires-at", "2100-01-01", "--json"))
    assert issued["expires_at"] == "2100-01-01T00:00:00Z"
    listed = command("secrets", "list", "acme", "--json")
    assert issued["client_secret"] not in listed
    first, second = json.loads(listed)
    assert second["secret_id"] == issued["secret_id"]
    revoked = command("secrets", "revoke", "acme", first["secret_id"])
    assert revoked == f"secret {first['secret_id']} of acme is revoked\n"
    assert [secret["secret_id"] for secret in json.loads(command("secrets", "list", "acme", "--json"))] == [
        issued["secret_id"]
    ]


def test_a_permission_is_given_and_taken(command: Run) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    for option, may in (("--may-read-all-clients", True), ("--may-not-read-all-clients", False)):
        assert json.loads(command("clients", "permit", "acme", option, "--json"))["may_read_all_clients"] is may
    assert failure("clients", "permit", "acme") == 2


def test_the_trail_says_what_the_command_line_did(command: Run) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    command("clients", "create", "other", "--name", "Other")
    command("clients", "disable", "acme")
    command("clients", "rotate-secret", "acme")
    lines = json.loads(command("admin-audit", "acme", "--json"))
    assert [line["action"] for line in lines] == ["rotate_secret", "change_client", "create_client"]
    assert {line["actor"] for line in lines} == {"command line"}
    assert len(json.loads(command("admin-audit", "--limit", "2", "--json"))) == 2
    assert "create_client" in command("admin-audit")


def test_all_clients_are_listed_however_many_pages_they_are(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_PAGE_CLIENTS", 1)
    for client_id in ("b", "a", "c"):
        command("clients", "create", client_id, "--name", "x")
    assert [client["client_id"] for client in json.loads(command("clients", "list", "--json"))] == ["a", "b", "c"]


def test_plans_are_imported_from_a_file_or_refused_by_line(command: Run, tmp_path: Path) -> None:
    command("clients", "create", "acme", "--name", "Acme")
    file = tmp_path / "plans.csv"
    file.write_text("plan_name,description,collection_id,color\nOne,x,c,red\nTwo,x,c,blue\n")
    assert command("plans", "import", str(file), "--client", "acme") == "imported 2 plans for acme\n"
    said = str(failure("plans", "import", str(file), "--client", "acme")).splitlines()
    assert said[0] == "catalog_service: nothing was imported"
    assert all(
        line.startswith(f"plans.csv: line {number}: plan_name: Is there") for number, line in enumerate(said[1:], 2)
    )
    again = ("plans", "import", str(file), "--client", "acme", "--allow-doubles", "--json")
    assert json.loads(command(*again))["imported"] == 2
    file.write_text("plan_name,description,collection_id,color\nNew,x,c,red\nNew,x,c,blue\nNew,x,d,blue\n")
    assert "line 3: plan_name: Stands in an earlier row too" in str(failure(*again[:-2]))
    file.write_text("plan_name,description,collection_id,color\nOne,x,c,\nTwo,x,,blue\n")
    said = str(failure("plans", "import", str(file), "--client", "acme")).splitlines()
    assert said == [
        "catalog_service: nothing was imported",
        "plans.csv: line 2: color: Must be 1 to 64 characters.",
        "plans.csv: line 3: collection_id: Must be 1 to 128 characters.",
    ]


def test_keys_are_rotated_and_listed(command: Run) -> None:
    command("migrate")
    new = json.loads(command("keys", "rotate", "--json"))
    old, listed = json.loads(command("keys", "list", "--json"))
    assert (old["state"], listed["state"], listed["kid"]) == ("signs", "next", new["kid"])
    assert listed["signs_from"] == new["signs_from"]
    # Tokens may live for a day, whatever this shell says of the servers' lifetime.
    assert datetime.fromisoformat(json.loads(command("keys", "list", "--json"))[0]["published_until"]) >= (
        datetime.fromisoformat(new["signs_from"]) + timedelta(days=1)
    )
    assert "signs from" in command("keys", "rotate")
    assert new["kid"] in command("keys", "list")


def test_migrating_makes_the_tables_and_the_first_key_and_again_does_nothing(
    empty_database: Callable[[], str], command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = empty_database()
    monkeypatch.setenv("CATALOG_POSTGRES_DSN", dsn)
    applied = ("0001_clients_plans_and_signing_keys", "0002_row_security", "act_for (function)")
    assert command("migrate") == "".join(f"applied {name}\n" for name in applied)
    assert command("migrate") == "nothing to apply\n"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM signing_key").fetchone() == (1,)


def test_help_answers(command: Run) -> None:
    assert "rotate-secret" in command("clients", "--help")
    assert "import" in command("plans", "--help")
