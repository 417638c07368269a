"""The panels of Grafana's dashboards, as it would ask for them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "dashboards"


@dataclass(frozen=True)
class Panel:
    """What a panel shows: its queries, with the variables of the dashboard in them."""

    title: str
    queries: Sequence[str]


def list_panels() -> list[Panel]:
    """Return the panels of all dashboards, without the rows between them."""
    return [
        Panel(panel["title"], [target["expr"] for target in panel["targets"]])
        for path in sorted(DIRECTORY.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        if panel["type"] != "row"
    ]


def substitute(query: str, *, window: str) -> str:
    """Return a query as Grafana sends it, with `window` for the interval of rates, and all services."""
    return query.replace("$__rate_interval", window).replace("$job", ".*")
