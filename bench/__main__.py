"""`python -m bench`: ask the questions, each beside its peers, on servers of its own."""

import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from bench import report
from bench.errors import BenchError
from bench.finding import Finding
from bench.machine import time_fsync, time_round_trip
from bench.question import FULL, QUICK, Effort, Question
from bench.questions import QUESTIONS
from bench.stage import Stage
from bench.wrk import find_wrk
from local_stack.errors import StackError

application = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(width=None if sys.stdout.isatty() else 150)


@application.command()
def run(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short rounds: to see that all runs, not to be quoted.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="A question to ask, again for more of them.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each question.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="Seconds of each run.")] = None,
    show_questions: Annotated[bool, typer.Option("--list", help="Say which questions there are.")] = False,
) -> None:
    """Measure the product beside what people would use instead, and write bench/results and docs/performance.md.

    Everything is started on free ports of 127.0.0.1 and stopped again. Exit 1 when something was oversold, lost or
    refused: a fast wrong answer is a failure. A target that is not reached is not.
    """
    if show_questions:
        for question in QUESTIONS:
            console.print(f"{question.name:<22} {question.title}", highlight=False)
        return
    effort = QUICK if quick else FULL
    effort = replace(effort, rounds=rounds or effort.rounds, run_seconds=seconds or effort.run_seconds)
    try:
        find_wrk()
        if find_spec("matplotlib") is None:
            raise BenchError("the plots need matplotlib: `make bench` installs requirements/bench.lock")
        findings = ask(_choose(only, quick), effort)
    except (BenchError, StackError) as error:
        typer.echo(f"bench: {error}", err=True)
        raise typer.Exit(1) from None
    report.show(findings, console)
    if any(finding.faults for finding in findings.values()):
        raise typer.Exit(1)


def ask(questions: list[Question], effort: Effort) -> dict[Question, Finding]:
    """Ask one after the other, and write each answer down; one that fails is wrong, and the others are asked.

    Raises StackError and BenchError when the servers under all of them do not start.
    """
    findings: dict[Question, Finding] = {}
    today = datetime.now(UTC).date()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another account
        stage = Stage(directory)
        try:
            disk = _time_machine(stage)
            for number, question in enumerate(questions, 1):
                begun = time.monotonic()
                typer.echo(f"[{number}/{len(questions)}] {question.title} ...", nl=False)
                try:
                    findings[question] = question.ask(stage, effort)
                except (BenchError, StackError, psycopg.Error) as error:
                    findings[question] = Finding(faults=[str(error)])
                finally:
                    stage.clear()
                file = report.write(question, findings[question], effort, today=today, disk=disk)
                typer.echo(f" {time.monotonic() - begun:.0f} s, written to {file}")
        finally:
            stage.close()
    return findings


def _time_machine(stage: Stage) -> dict[str, float]:
    echo = stage.start_peer("echo")
    port = int(echo.url.rpartition(":")[2])
    disk = {"fdatasync": time_fsync(stage.directory), "round trip on loopback": time_round_trip(port)}
    stage.clear()
    return disk


def _choose(only: list[str] | None, quick: bool) -> list[Question]:
    if not only:
        return [each for each in QUESTIONS if (each.in_quick if quick else each.in_full)]
    known = {each.name: each for each in QUESTIONS}
    if unknown := [name for name in only if name not in known]:
        raise BenchError(f"there is no question {unknown[0]}: --list names them")
    return [known[name] for name in only]


if __name__ == "__main__":
    application(prog_name="python -m bench")
