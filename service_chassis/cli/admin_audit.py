"""Show the trail of administrative changes: the same command in each service that has one."""

from dataclasses import asdict

from service_chassis.cli.commands import run_with_pool, show
from service_chassis.database.admin_audit import LAST_LINE, ReadAdminAudit
from service_chassis.errors import OperatorError
from service_chassis.process_settings import DatabaseSettings

ACTOR = "command line"
"""Who made a change, in the trail. No key's name has a blank in it."""
_COLUMNS = ("at", "actor", "action", "target", "detail")


def show_admin_audit(
    settings_class: type[DatabaseSettings], target: str | None, limit: int, as_json: bool, *, command: str
) -> None:
    """Print the last changes, newest first. Raises OperatorError for a target that has none."""
    lines, _ = run_with_pool(
        settings_class, lambda pool: ReadAdminAudit(pool).list_lines(target, LAST_LINE, limit), command=command
    )
    if target is not None and not lines:
        raise OperatorError(f"no change of {target} is kept: was it spelled so?")
    rows = [asdict(line) for line in lines]
    show([{name: row[name] for name in _COLUMNS} for row in rows], as_json)
