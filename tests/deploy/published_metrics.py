"""Every metric that the services publish, read from their sources: where one is made, its name and words stand."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SERVICES = ("catalog_service", "activity_service", "metering_service")
KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram", "size_histogram": "histogram"}


@dataclass(frozen=True, order=True)
class Published:
    """A metric under its name in Prometheus. `package` is where it is made; the chassis's are every service's."""

    package: str
    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def row(self) -> str:
        """Its row in the page about observability."""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{self.name}` | {self.kind} | {labels} | {self.text} |"

    @property
    def series(self) -> set[str]:
        """The names of its series."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "count", "sum")}
        return {self.name}


LENT = {"activity_service": ("metering_client", "activity_")}
"""Whose metrics a service publishes as its own, and what their names begin with there."""


@functools.cache
def list_published() -> list[Published]:
    """Return all of them by package and name."""
    made = [
        metric
        for package in ("service_chassis", *SERVICES)
        for path in (ROOT / package).rglob("*.py")
        for metric in _find(package, path)
    ]
    for package, (lender, prefix) in LENT.items():
        lent = [metric for path in (ROOT / lender).rglob("*.py") for metric in _find(package, path)]
        made += [replace(metric, name=prefix + metric.name) for metric in lent]
    return sorted(made)


def _find(package: str, path: Path) -> Iterator[Published]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        maker = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if maker in KINDS:
            try:
                name, text, *labels = (ast.literal_eval(argument) for argument in node.args)
            except ValueError:
                continue  # the makers themselves, in service_chassis/operations/metrics.py
            if labels and isinstance(labels[0], list):
                [labels] = labels
            kind = KINDS[maker]
            total = "_total" if kind == "counter" else ""
            yield Published(package, name + total, kind, tuple(labels), text)
