"""The page about observability lists every metric, as it is published, and no other."""

from pathlib import Path

import pytest

from tests.deploy.published_metrics import SERVICES, list_published

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations" / "observability.md").read_text()
HEADINGS = {"service_chassis": "Every service"} | {service: service for service in SERVICES}


@pytest.mark.parametrize("package", HEADINGS)
def test_the_page_lists_every_metric_with_its_labels_and_meaning_and_no_other(package: str) -> None:
    section = PAGE.split(f"\n### {HEADINGS[package]}\n")[1].split("\n#")[0]
    told = [line for line in section.splitlines() if line.startswith("| `")]
    published = [metric.row for metric in list_published() if metric.package == package]
    assert len(published) > 2
    assert told == published


def test_no_metric_is_made_in_two_places_of_a_service() -> None:
    names = [(metric.package, metric.name) for metric in list_published()]
    assert len(names) == len(set(names))
