"""What all commands of all services have in common."""

import signal
import subprocess
import sys
from importlib import import_module
from inspect import getsource, isfunction, unwrap
from types import FunctionType

import pytest
import typer

from local_stack.processes import REPOSITORY
from service_chassis.cli.commands import run_commands
from tests.command_list import COMMANDS, SERVICES

PRINTS_NO_COLUMNS = {
    "catalog_service serve": "prints its log",
    "activity_service serve": "prints its log",
    "metering_service serve": "prints its log",
    "activity_service users export": "a document for a person's own programs: JSON always",
    "metering_service users export": "as activity's",
    "metering_service export ledger": "CSV, or with --format ndjson",
    "metering_service export usage": "CSV, or with --format ndjson",
}
"""Commands without --json, each with its reason."""

CHANGES_NOTHING = {
    *(f"{service} {word}" for service in SERVICES for word in ("admin-audit", "serve")),
    *(f"activity_service {words}" for words in ("audit", "billing parked", "billing status", "users export")),
    *(f"catalog_service {words}" for words in ("clients list", "keys list", "secrets list")),
    *(f"metering_service export {what}" for what in ("ledger", "usage")),
    *(f"metering_service policies {verb}" for verb in ("list", "shadow-report", "show")),
    *(f"metering_service webhooks {verb}" for verb in ("list", "send-test")),
    "metering_service users export",
    *(
        f"metering_service {word}"
        for word in ("balance", "client", "decisions", "holds", "ledger", "quota", "recurring-grants", "refusals")
    ),
    "metering_service usage",
}
CHANGES_THE_SCHEMA = {f"{service} migrate" for service in SERVICES}
"""And has a table of its own of what was applied."""


def test_every_command_that_prints_something_has_json_for_programs() -> None:
    without = {
        name
        for name, command in COMMANDS.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == PRINTS_NO_COLUMNS.keys()


def test_every_command_that_changes_something_says_who_it_was_in_the_audit_trail() -> None:
    changing = COMMANDS.keys() - CHANGES_NOTHING - CHANGES_THE_SCHEMA
    assert changing == {name for name, command in COMMANDS.items() if _names_the_actor(command.callback)}


def _names_the_actor(command: FunctionType) -> bool:
    """Tell whether a command hands on who makes the change, itself or in a function of its file that it calls."""
    source = getsource(command)
    called = [
        each for name, each in unwrap(command).__globals__.items() if isfunction(each) and f" {name}(" in source
    ]
    return any("ACTOR" in getsource(each) for each in (command, *called))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_option_is_named_whatever_else_is_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    service, *words = name.split()
    commands = import_module(f"{service}.cli.main").commands
    for given in ([], ["a"], ["a", "1"], ["-5", "-7"]):
        with pytest.raises(SystemExit) as ended:
            run_commands(commands, service, [*words, *given, "--no-such-option", "x"])
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert said.startswith(f"python -m {name}: no such option: --no-such-option")
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_each_argument_and_option_is_and_gives_a_flag_no_value(name: str) -> None:
    command = COMMANDS[name]
    context = typer.Context(command, info_name=name)
    assert [parameter.name for parameter in command.params if not parameter.help] == []
    flags = [parameter for parameter in command.get_params(context) if getattr(parameter, "is_flag", False)]
    assert [flag.name for flag in flags if flag.display_type_rich(context)] == []


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("metering_service export ledger", ["acme", "--format", "xml"], "--format: must be csv or ndjson"),
        ("metering_service export ledger", ["acme", "--after", "9" * 20], f"--after: must be at most {2**63 - 1}"),
        (
            "metering_service balance",
            ["my", "client"],
            "takes client_id, and 'client' is one too many; put what has blanks in quotes",
        ),
        (
            "metering_service grant",
            ["acme", "5", "6", "--grant-id", "g"],
            "takes client_id and credits, and '6' is one too many; put what has blanks in quotes",
        ),
        (
            "catalog_service migrate",
            ["now"],
            "takes no argument, and 'now' is one too many; put what has blanks in quotes",
        ),
        ("metering_service policies put", ["basic", "/"], "file: must be a file that can be read"),
        ("metering_service policies put", ["basic", "/none"], "file: must be a file that can be read"),
        ("catalog_service plans import", ["/none", "--client", "acme"], "file: must be a file that can be read"),
        (
            "activity_service audit",
            ["--metering-url", "http://h", "--metering-key-file", "/"],
            "--metering-key-file: must be a file that can be read",
        ),
    ],
)
def test_what_there_may_be_is_said_in_our_words(
    command: str, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service, *words = command.split()
    with pytest.raises(SystemExit) as ended:
        run_commands(import_module(f"{service}.cli.main").commands, service, [*words, *given])
    assert (ended.value.code, capsys.readouterr().err) == (2, f"python -m {command}: {said} (see --help)\n")


def test_there_are_commands() -> None:
    assert {"catalog_service clients disable", "metering_service adjust"} <= COMMANDS.keys()


@pytest.mark.parametrize("package", [*SERVICES, "local_stack"])
def test_ctrl_c_while_modules_are_imported_ends_it_without_a_word(package: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", package, "--help"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"typer" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = b"".join(line for line in process.stderr if not line.startswith(b"import time:"))
    assert (process.returncode, said) == (-signal.SIGINT, b"")
