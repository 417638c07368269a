"""The verdict of an audit: what was looked at, what is wrong, what is merely unfinished; for people and programs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import typer

from service_chassis.cli.columns import print_columns

KEPT_FINDINGS = 100
"""Findings that are kept with their words; all are counted. A broken table of millions must not fill memory."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an audit found. `rule` is a stable code, `subject` an id, `detail` a sentence with figures."""

    rule: str
    subject: str
    detail: str


@dataclass
class AuditReport:
    """What an audit saw. Findings in `violations` break an invariant; those in `unfinished` are to be expected for
    a while in a system that is in use or has just lost a part."""

    subject: str
    checked: dict[str, int] = field(default_factory=dict)
    violations: list[Finding] = field(default_factory=list)
    unfinished: list[Finding] = field(default_factory=list)
    violation_count: int = 0
    unfinished_count: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found to be wrong."""
        return self.violation_count == 0

    def count(self, what: str, number: int = 1) -> None:
        """Note that `number` more of something were looked at."""
        self.checked[what] = self.checked.get(what, 0) + number

    def add_violations(self, findings: Iterable[Finding]) -> None:
        """Add violations."""
        for finding in findings:
            self.violation_count += 1
            if len(self.violations) < KEPT_FINDINGS:
                self.violations.append(finding)

    def add_unfinished(self, findings: Iterable[Finding]) -> None:
        """Add what is unfinished."""
        for finding in findings:
            self.unfinished_count += 1
            if len(self.unfinished) < KEPT_FINDINGS:
                self.unfinished.append(finding)

    def merge(self, other: "AuditReport") -> None:
        """Add all that another report holds."""
        for what, number in other.checked.items():
            self.count(what, number)
        self.add_violations(other.violations)
        self.add_unfinished(other.unfinished)
        self.violation_count += other.violation_count - len(other.violations)
        self.unfinished_count += other.unfinished_count - len(other.unfinished)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        looked_at = ", ".join(f"{number:,} {what}" for what, number in self.checked.items()) or "nothing there"
        open_ends = f"; {self.unfinished_count:,} unfinished, listed above" if self.unfinished_count else ""
        if self.is_sound:
            return f"{self.subject}: sound. Every invariant holds ({looked_at}){open_ends}."
        found = "1 violation" if self.violation_count == 1 else f"{self.violation_count:,} violations"
        return f"{self.subject}: NOT SOUND. {found} in {looked_at}{open_ends}."

    def as_document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "verdict": "sound" if self.is_sound else "violated",
            "sentence": self.sentence,
            "checked": self.checked,
            "violationCount": self.violation_count,
            "violations": [_as_document(finding) for finding in self.violations],
            "unfinishedCount": self.unfinished_count,
            "unfinished": [_as_document(finding) for finding in self.unfinished],
        }


def show_report(report: AuditReport, *, as_json: bool) -> None:
    """Print a report: columns and a sentence for people, or one JSON document for programs."""
    if as_json:
        typer.echo(orjson.dumps(report.as_document(), option=orjson.OPT_INDENT_2).decode())
        return
    rows = [("violation", each.rule, each.subject, each.detail) for each in report.violations]
    rows += [("unfinished", each.rule, each.subject, each.detail) for each in report.unfinished]
    if rows:
        print_columns(("", "rule", "about", "what was found"), rows)
    hidden = report.violation_count + report.unfinished_count - len(rows)
    if hidden:
        typer.echo(f"{hidden:,} more are counted and not shown.")
    typer.echo(report.sentence)


def _as_document(finding: Finding) -> dict[str, str]:
    return {"rule": finding.rule, "about": finding.subject, "detail": finding.detail}
