"""What the documents say is what the code does: settings, links, the tour, the map of files."""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from activity_service.api import description as activity
from activity_service.settings import ActivitySettings
from catalog_service.api import description as catalog
from catalog_service.settings import CatalogSettings
from local_stack.welcome import TOUR
from metering_service.api import description as metering
from metering_service.settings import MeteringSettings
from service_chassis.openapi.endpoint import Endpoint
from service_chassis.operations.tracing import TracingSettings
from tests.configuration_table import describe_settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "operations" / "configuration.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
CALLS: dict[str, Iterable[Endpoint]] = {
    "catalog": (*catalog.ENDPOINTS, *catalog.ADMIN_ENDPOINTS),
    "activity": activity.ENDPOINTS,
    "metering": metering.ENDPOINTS,
}


@pytest.mark.parametrize(
    ("heading", "settings"),
    [
        ("catalog_service", CatalogSettings),
        ("activity_service", ActivitySettings),
        ("metering_service", MeteringSettings),
        ("Traces", TracingSettings),
    ],
)
def test_the_page_about_configuration_lists_every_setting_with_its_unit_and_default(
    heading: str, settings: type
) -> None:
    section = CONFIGURATION.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        [
            f"`{each.variable}`",
            each.unit,
            each.default if each.default in ("required", "") else f"`{each.default}`",
            each.description,
        ]
        for each in describe_settings(settings)
    ]


def test_the_page_about_configuration_lists_what_compose_reads_with_its_default() -> None:
    page = (ROOT / "docs" / "operations" / "configuration.md").read_text().split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (`.+?) \|", page, re.M)
    told = [
        pair
        for names, values in rows
        for pair in pair_up(re.findall(r"`(.+?)`", names), re.findall(r"`(.+?)`", values))
    ]
    read = set(re.findall(r"\$\{([A-Z_]+)(?::-([^}]*))?", (ROOT / "docker-compose.yml").read_text()))
    assert {name for name, _ in told} == {name for name, _ in read}
    assert {(name, default) for name, default in read if default} <= set(told)


def pair_up(names: list[str], values: list[str]) -> list[tuple[str, str]]:
    """Return each name with its value, or with the one that all of them have."""
    return list(zip(names, values if len(values) > 1 else values * len(names), strict=True))


def test_readmes_tour_is_the_one_that_make_run_prints() -> None:
    assert TOUR.read_text().strip() in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_use_case_and_store_of_the_map_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_/0-9]+\.(?:py|sql|lua))`", text))
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.*") if path.is_file()}
    missing = {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in files)}
    assert missing == set()


@pytest.mark.parametrize("service", CALLS)
def test_the_map_leads_from_every_call_to_the_file_of_its_handler(service: str) -> None:
    rows = list_calls(ROOT / "docs" / "architecture.md")
    for each in CALLS[service]:
        path = without_names(each.path)
        # `/internal/policies` stands for what is below it as well.
        place = max((of for of in rows if path == of or path.startswith(f"{of}/")), key=len, default=None)
        assert place is not None, each.path
        handler = inspect.unwrap(each.handler).__module__.replace(".", "/")
        assert f"{handler.partition('/')[2]}.py" in rows[place], each.path


@pytest.mark.parametrize("service", CALLS)
def test_the_page_of_an_api_has_every_call(service: str) -> None:
    told = list_calls(ROOT / "docs" / "api" / f"{service}.md").keys()
    assert {without_names(each.path) for each in CALLS[service]} - told == set()


def list_calls(page: Path) -> dict[str, str]:
    """Return each path that the first column of a page's tables names, with its row. One goes on from the one before:

    `/api/plan-plays`, `/{id}` is two paths, and `.../grants`, `refunds` are two of the same parent.
    """
    rows = {}
    for row in re.findall(r"^\| (.+)$", page.read_text(), re.M):
        last = ""
        for words in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            path = words.split()[-1].partition("?")[0]
            if path.startswith("/{"):
                path = last + path
            elif not path.startswith("/"):
                path = f"{last.rpartition('/')[0]}/{path}"
            rows[without_names(path)] = row
            last = path
    return rows


def without_names(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_the_page_of_decisions_lists_each_by_its_title() -> None:
    page = ROOT / "docs" / "decisions" / "README.md"
    listed = re.findall(r"^- \[(\d{4})\]\((.+?)\) (.+)$", page.read_text(), re.M)
    files = sorted(page.parent.glob("0*.md"))
    assert listed == [(each.name[:4], each.name, each.read_text().split("\n")[0][2:]) for each in files]
