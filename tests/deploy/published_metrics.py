"""Every metric that the services publish, read from their sources: where one is made, its name and words stand."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
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


def list_published() -> list[Published]:
    """Return all of them by package and name."""
    return sorted(
        metric
        for package in ("service_chassis", *SERVICES)
        for path in (ROOT / package).rglob("*.py")
        for metric in _find(package, path)
    )


def _find(package: str, path: Path) -> Iterator[Published]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
            try:
                name, text, *labels = (ast.literal_eval(argument) for argument in node.args)
            except ValueError:
                continue  # the makers themselves, in service_chassis/operations/metrics.py
            kind = KINDS[node.func.attr]
            total = "_total" if kind == "counter" else ""
            yield Published(package, name + total, kind, tuple(labels[0] if labels else ()), text)
