"""The pages for operators name what there is: every log event that wants attention, every script."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "operations"
RUNBOOK = (PAGES / "runbook.md").read_text()
SOURCES = "\n".join(
    path.read_text()
    for package in ("service_chassis", "metering_client", "catalog_service", "activity_service", "metering_service")
    for path in (ROOT / package).rglob("*.py")
)


def test_every_log_event_at_warning_or_above_is_in_the_runbook_and_no_other() -> None:
    logged = set(re.findall(r'(?:_log\.(?:warning|error|critical)\)?|log_fault)\(\s*"(\w+)"', SOURCES)) | {"library"}
    table = RUNBOOK.split("## Every log event")[1].split("\n## ")[0]
    told = {
        event
        for line in table.splitlines()
        if line.startswith("| `")
        for event in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert len(logged) > 15
    assert told == logged


def test_every_script_that_a_page_names_is_there() -> None:
    for page in PAGES.glob("*.md"):
        for script in re.findall(r"\bdeploy/[a-z_/.-]+", page.read_text()):
            assert (ROOT / script.rstrip("/.")).exists(), f"{page.name}: {script}"
