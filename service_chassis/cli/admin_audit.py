"""The trail of administrative changes: the same command in each service."""

from dataclasses import asdict
from typing import Annotated

import typer

from service_chassis.cli.commands import AsJson, run_with_pool, show
from service_chassis.cli.usage import Commands
from service_chassis.database.admin_audit import LAST_LINE, list_changes
from service_chassis.errors import OperatorError
from service_chassis.process_settings import DatabaseSettings

ACTOR = "command line"
"""Who made a change, in the trail. No key's name has a blank in it."""


def add_admin_audit(commands: Commands, settings_class: type[DatabaseSettings], service: str) -> None:
    """Add the command `admin-audit` to those of `service`, whose database `settings_class` names."""

    @commands.command("admin-audit")
    def admin_audit(
        target: Annotated[str | None, typer.Argument(help="What was changed, as a client's id; all without.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most lines to show.")] = 100,
        as_json: AsJson = False,
    ) -> None:
        """List administrative changes, newest first: who is the name of a key, a client, or the command line."""
        lines, _ = run_with_pool(
            settings_class,
            lambda pool: list_changes(pool, target, LAST_LINE, limit),
            command=f"{service} admin-audit",
        )
        if target is not None and not lines:
            raise OperatorError(f"no change of {target} is kept: was it spelled so?")
        show([asdict(line) for line in lines], as_json, ("at", "actor", "action", "target", "detail"))
