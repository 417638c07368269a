"""Plans from files."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from catalog_service.errors import InvalidPlans
from catalog_service.plans.import_file import ImportPlans
from catalog_service.plans.plan_file import PlanRow, read_plan_file
from catalog_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, run_with_pool, show_done
from service_chassis.cli.usage import Commands
from service_chassis.errors import OperatorError

commands = Commands(help="Plans of clients.", no_args_is_help=True)


@commands.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .json array of plans, or a .csv with their names.")
    ],
    client: Annotated[str, typer.Option(metavar="ID", help="Whose plans they are.")],
    allow_doubles: Annotated[
        bool, typer.Option("--allow-doubles", help="Add plans without plan_id though plans of their name are there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add the plans of a file, all or none; one whose plan_id the client has already is replaced."""
    rows = read_plan_file(file)
    if not rows:
        raise OperatorError(f"{file.name}: holds no plans; nothing was imported")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        try:
            count = run_with_pool(
                DatabaseSettings,
                lambda pool: ImportPlans(pool).write(
                    client,
                    [row.values for row in rows],
                    report=_shown(progress, rows),
                    may_double=allow_doubles,
                    actor=ACTOR,
                ),
                command="catalog_service plans",
                acts_as_role=True,
            )
        except InvalidPlans as error:
            raise OperatorError(_name_places(file, rows, error)) from None
    show_done(f"imported {count} plans for {client}", {"client_id": client, "imported": count}, as_json)


def _shown(progress: Progress, rows: list[PlanRow]) -> Callable[[str, int], None]:
    bars = {stage: progress.add_task(stage, total=len(rows)) for stage in ("checking", "writing")}
    return lambda stage, done: progress.update(bars[stage], completed=done)


def _name_places(file: Path, rows: list[PlanRow], error: InvalidPlans) -> str:
    faults = [f"{file.name}: {rows[index].place}: {fault}" for index, fault in error.faults]
    return "nothing was imported\n" + "\n".join(faults)
