"""`python -m tests.command_list`: write the page that lists every command anew, from the commands themselves."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer

from tests.pages import ROOT

SERVICES = ("catalog_service", "activity_service", "metering_service")
PAGE = ROOT / "docs" / "operations" / "commands.md"
HEAD = """\
# Commands

`./ctl metering balance acme` on a stack that runs here; elsewhere `python -m metering_service balance acme`
with the service's variables. `--help` of each says what its options mean, and `--json` is there for programs.
What is in brackets may be left out.
"""


def all_commands() -> Iterator[tuple[str, Any]]:
    """Return every command of every service, with the words that name it."""
    for service in SERVICES:
        left = [(service, typer.main.get_command(import_module(f"{service}.cli.main").commands))]
        while left:
            name, command = left.pop()
            inner = getattr(command, "commands", {})
            left += [(f"{name} {word}", each) for word, each in inner.items()]
            if not inner:
                yield name, command


COMMANDS = dict(sorted(all_commands()))


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for service in SERVICES:
        lines += [f"## {service}\n", "| command | what it does |", "|---|---|"]
        lines += [
            f"| `{' '.join([*name.split()[1:], *_list_parameters(command)])}` | {_summary(command)} |"
            for name, command in COMMANDS.items()
            if name.startswith(service)
        ]
        lines.append("")
    return "\n".join(lines)


def _summary(command: Any) -> str:
    return " ".join(str(command.help).split("\n\n")[0].split())


def _list_parameters(command: Any) -> Iterator[str]:
    """Return arguments as they stand in a call, then options; not those that every command has."""
    for parameter in sorted(command.params, key=lambda each: each.param_type_name):
        if parameter.param_type_name == "argument":
            shown = parameter.name.upper() + ("..." if parameter.nargs != 1 else "")
        elif "--json" in parameter.opts or "--help" in parameter.opts:
            continue
        else:
            shown = " or ".join([parameter.opts[0], *parameter.secondary_opts]) + (
                "" if parameter.is_flag else " ..."
            )
        yield shown if parameter.required else f"[{shown}]"


if __name__ == "__main__":
    PAGE.write_text(render())
