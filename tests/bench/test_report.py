"""What a reader of the page sees first."""

from dataclasses import asdict
from typing import Any

from bench.finding import Run
from bench.questions import QUESTIONS
from bench.report import render_figures, show_number


def make_question(title: str, *sides: str) -> dict[str, Any]:
    run = asdict(Run(1234.0, cpu_seconds=1e-3, database_cpu_seconds=1e-3, p50=0.0567, p99=0.0891))
    return {
        "title": title,
        "rounds": 1,
        "run_seconds": 3,
        "claims": [{"text": title, "median": "1", "range": "1 to 1", "target": "", "verdict": ""}],
        "sides": {side: [run] for side in sides},
        "faults": [],
        "notes": [],
    }


def render(*names: str, failed: tuple[str, ...] = ()) -> str:
    known = {
        "create_same_work": make_question("the same work", "metered create, 64 connections"),
        "create_open_loop": make_question("at a rate", "metered create at 50% of its capacity"),
        "get_plans": make_question("plans", "get-plans"),
    }
    document = {
        "date": "2026-01-01",
        "machine": {"processor": "a processor", "cores": 2, "versions": {"Python": "3.11"}},
        "disk": {"fdatasync": 1e-4},
        "questions": {name: known[name] | ({"sides": {}} if name in failed else {}) for name in names},
    }
    return render_figures(document, "2026-01-01.json")


def test_the_page_begins_with_how_much_how_quick_and_on_what_machine() -> None:
    head, machine, *_ = render("get_plans", "create_open_loop", "create_same_work").split("\n\n")
    assert head.startswith("**1,234 charged creates a second**, durable")
    assert "p50 57 ms, p99 89 ms" in head
    assert "both audits sound" in head
    assert "a processor, 2 cores" in machine


def test_the_page_has_the_questions_in_their_order_and_not_as_they_were_asked() -> None:
    page = render("get_plans", "create_open_loop", "create_same_work")
    titles = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert titles == ["the same work", "at a rate", "plans"]
    assert QUESTIONS[0].name == "create_same_work"


def test_a_page_without_the_headline_has_its_figures_all_the_same() -> None:
    assert render("get_plans").startswith("Measured 2026-01-01")
    failed = render("get_plans", "create_same_work", failed=("create_same_work",))
    assert failed.startswith("Measured 2026-01-01")


def test_a_count_is_shown_in_full_and_a_ratio_by_three_digits() -> None:
    assert [show_number(number) for number in (0.8567, 2.5, 330.0, 999.7, 1434.2)] == [
        *("0.857", "2.5", "330", "1,000", "1,434")
    ]
