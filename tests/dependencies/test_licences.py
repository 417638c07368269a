"""The page about licences is of what is locked."""

from tests.dependencies.licences import PAGE, render


def test_the_page_lists_what_a_service_is_made_of_with_its_licence() -> None:
    told, found = PAGE.read_text().splitlines(), render().splitlines()
    # Another Python needs a package more or less.
    assert len(set(told) ^ set(found)) <= 4
    assert sum(line.startswith("| ") for line in found) > 40
