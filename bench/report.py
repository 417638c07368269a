"""What was found: a table, `results/DATE.json`, a plot for each question, and the table of docs/performance.md."""

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cores import CORES
from bench.finding import Claim, Finding, Plot
from bench.question import Effort, Question
from bench.questions import QUESTIONS
from local_stack.postgres_server import find_binaries
from local_stack.processes import REPOSITORY
from local_stack.redis_server import find_binary

RESULTS = Path(__file__).parent / "results"
PAGE = REPOSITORY / "docs" / "performance.md"
PLOTS = REPOSITORY / "docs" / "performance"
BEGIN, END = "<!-- figures: written by python -m bench -->", "<!-- end of figures -->"

Findings = Mapping[Question, Finding]


def show(findings: Findings, console: Console) -> None:
    """Print two tables: what was claimed, and what each side did."""
    claims = Table("question", "ratio", "median", "range", "target", "", title="Ratios, round by round")
    sides = Table("question", "side", "a second", "CPU", "databases' CPU", "p50", "p99", title="Medians of each side")
    for question, finding in findings.items():
        for claim in finding.claims:
            claims.add_row(question.name, claim.text, *_cells(claim), _verdict(claim, finding))
        for side, runs in finding.sides.items():
            cpu, database = (
                f"{median(each) * 1e6:,.0f} us"
                for each in ([r.cpu_seconds for r in runs], [r.database_cpu_seconds for r in runs])
            )
            p50, p99 = (f"{median(each) * 1e3:.2f} ms" for each in ([r.p50 for r in runs], [r.p99 for r in runs]))
            sides.add_row(question.name, side, f"{median(r.rate for r in runs):,.0f}", cpu, database, p50, p99)
    console.print(sides)
    console.print(claims)
    for question, finding in findings.items():
        for note in finding.notes:
            console.print(f"{question.name}: {note}")
        for fault in finding.faults:
            console.print(f"[red]{question.name}: WRONG: {fault}")


def write(question: Question, finding: Finding, effort: Effort, *, today: date, disk: Mapping[str, float]) -> Path:
    """Write a finding into its day's `results/DATE.json`, where other questions' stay; plot it, fill the page.

    Quick ones go to a file of their own, and are neither plotted nor reach the page. Answers the file.
    """
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{today.isoformat()}{'-quick' if effort.is_quick else ''}.json"
    document = json.loads(file.read_text()) if file.exists() else {"questions": {}}
    document |= {"date": today.isoformat(), "machine": describe_machine(), "disk": dict(disk)}
    document["questions"][question.name] = _as_json(question, finding, effort)
    file.write_text(json.dumps(document, indent=1) + "\n")
    if not effort.is_quick:
        PLOTS.mkdir(exist_ok=True)
        _plot(question, finding, PLOTS / f"{question.name}.svg")
        fill_page(document, file)
    return file


def fill_page(document: Mapping[str, Any], file: Path) -> None:
    """Write the figures into docs/performance.md, between its two marks."""
    if not PAGE.exists():
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{render_figures(document, file.name)}{END}{after}")


def _render_head(document: Mapping[str, Any], file_name: str) -> list[str]:
    """Say first what a reader wants to know: how many creates are charged a second, how long one takes, on what."""
    machine, sentences = document["machine"], []
    if found := _read_side(document, "create_same_work", "metered create, 64 connections"):
        rate, p50, p99 = found
        audit = "and the run is wrong" if document["questions"]["create_same_work"]["faults"] else "both audits sound"
        sentences.append(
            f"**{rate:,.0f} charged creates a second**, durable, over 64 connections, both services on one core; p50 "
            f"{p50:.0f} ms, p99 {p99:.0f} ms; every play held against its charge, {audit}."
        )
    if found := _read_side(document, "create_open_loop", "metered create at 50% of its capacity"):
        rate, p50, p99 = found
        sentences.append(
            f"At half of that, {rate:,.0f} a second: p50 {p50:.1f} ms, p99 {p99:.1f} ms, waiting included."
        )
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    disk = ", ".join(f"{name} {seconds * 1e6:,.0f} us" for name, seconds in document["disk"].items())
    return [
        *([" ".join(sentences), ""] if sentences else []),
        f"Measured {document['date']} ([all figures](../bench/results/{file_name})): {machine['processor']}, "
        f"{machine['cores']} cores. {versions}. Median of this disk and network beside it: {disk}.",
        "",
    ]


def _read_side(document: Mapping[str, Any], question: str, side: str) -> tuple[float, float, float] | None:
    """Return a side's rate, and its median and 99th percentile in milliseconds; None where it was not measured."""
    runs = document["questions"].get(question, {"sides": {}})["sides"].get(side)
    if runs is None:
        return None
    rate, p50, p99 = (median(run[key] for run in runs) for key in ("rate", "p50", "p99"))
    return rate, p50 * 1e3, p99 * 1e3


def render_figures(document: Mapping[str, Any], file_name: str) -> str:
    """Render the figures of a results file as Markdown: the headline, ratios, sides, then question by question."""
    asked = document["questions"]
    questions = {question.name: asked[question.name] for question in QUESTIONS if question.name in asked}
    lines = [
        *_render_head(document, file_name),
        "| question | ratio | median | range | target | |",
        "|---|---|---|---|---|---|",
    ]
    for name, question in questions.items():
        for claim in question["claims"]:
            verdict = "wrong" if question["faults"] else claim["verdict"]
            cells = (name, claim["text"], claim["median"], claim["range"], claim["target"], verdict)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| question | side | a second | CPU each | databases' CPU each | p50 | p99 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, question in questions.items():
        for side, runs in question["sides"].items():
            middle = {key: median(run[key] for run in runs) for key in runs[0]}
            lines.append(
                f"| {name} | {side} | {middle['rate']:,.0f} | {middle['cpu_seconds'] * 1e6:,.0f} us "
                f"| {middle['database_cpu_seconds'] * 1e6:,.0f} us | {middle['p50'] * 1e3:.2f} ms "
                f"| {middle['p99'] * 1e3:.2f} ms |"
            )
    for name, question in questions.items():
        lines += ["", f"### {question['title']}", ""]
        if all(len(runs) == question["rounds"] for runs in question["sides"].values()) and question["sides"]:
            lines += [f"{question['rounds']} rounds of {question['run_seconds']} s.", ""]
        lines += [f"- {note}" for note in question["notes"]] + [f"- WRONG: {fault}" for fault in question["faults"]]
        if question["notes"] or question["faults"]:
            lines.append("")
        lines.append(f"![{question['title']}](performance/{name}.svg)")
    return "\n".join(lines) + "\n"


def describe_machine() -> dict[str, Any]:
    """Return the processor and the versions that took part."""
    names = ("aiohttp", "asyncpg", "redis", "uvloop", "orjson", "marshmallow")
    versions = {"Python": platform.python_version()} | {name: version(name) for name in names}
    programs = {
        "PostgreSQL": [str(find_binaries() / "postgres"), "--version"],
        "Valkey": [str(find_binary()), "--version"],
        "Node.js": ["node", "--version"],
        "wrk": ["wrk", "--version"],
    }
    for name, command in programs.items():
        versions[name] = _first_line(command)
    cpu = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    return {"processor": cpu, "cores": len(CORES), "kernel": platform.release(), "versions": versions}


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).split()
    return next((word.strip("v=,") for word in words if word.strip("v=")[:1].isdecimal()), "unknown")


def _as_json(question: Question, finding: Finding, effort: Effort) -> dict[str, Any]:
    claims = []
    for claim in finding.claims:
        middle, spread, target = _cells(claim)
        verdict = _verdict(claim, finding)
        claims.append(
            {
                "text": claim.text,
                "ratios": list(claim.ratios),
                "median": middle,
                "range": spread,
                "target": target,
                "verdict": verdict,
            }
        )
    return {
        "title": question.title,
        "rounds": effort.rounds,
        "run_seconds": effort.run_seconds,
        "claims": claims,
        "sides": {name: [asdict(run) for run in runs] for name, runs in finding.sides.items()},
        "faults": finding.faults,
        "notes": finding.notes,
        "plot": asdict(finding.plot) if finding.plot else None,
    }


def _cells(claim: Claim) -> tuple[str, str, str]:
    target = "" if claim.target is None else f"{'<=' if claim.at_most else '>='} {show_number(claim.target)}"
    return show_number(claim.median), f"{show_number(min(claim.ratios))} to {show_number(max(claim.ratios))}", target


def show_number(number: float) -> str:
    """Show a ratio by three digits, and a count in full."""
    return f"{number:.3g}" if abs(number) < 999.5 else f"{number:,.0f}"


def _verdict(claim: Claim, finding: Finding) -> str:
    if finding.faults:
        return "wrong"
    if claim.target is None:
        return ""
    return "reached" if claim.is_reached else "not reached"


def _plot(question: Question, finding: Finding, file: Path) -> None:
    """Draw the claims round by round, or the question's own curves."""
    import matplotlib

    matplotlib.use("svg")
    # The same figures make the same file: no dates, no random ids.
    matplotlib.rcParams["svg.hashsalt"] = question.name
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    plot = finding.plot or _claims_as_plot(finding)
    for curve in plot.curves:
        line = axes.plot(curve.xs, curve.ys, marker="o", label=curve.label)[0]
        if finding.plot is None and (target := _target_of(curve.label, finding)) is not None:
            axes.axhline(target, linestyle="--", linewidth=1, color=line.get_color())
    if plot.log_x:
        axes.set_xscale("symlog")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_title(question.title, fontsize=9)
    axes.legend(fontsize=7)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _claims_as_plot(finding: Finding) -> Plot:
    from bench.finding import Curve

    curves = [Curve(each.text, list(range(1, len(each.ratios) + 1)), each.ratios) for each in finding.claims]
    return Plot("round", "ratio (dashed: its target)", curves)


def _target_of(text: str, finding: Finding) -> float | None:
    return next((claim.target for claim in finding.claims if claim.text == text), None)
