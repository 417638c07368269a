"""The threat model says which test proves each wall: they exist, and its figures are the code's."""

import re
from pathlib import Path

from service_chassis.auth.bearer import MAX_LIFETIME_SECONDS, MAX_TOKEN_CHARACTERS
from service_chassis.http.bounds import DEFAULT_BOUNDS
from service_chassis.http.json_body import MAX_DEPTH, PUBLIC_BODY_LIMIT_BYTES

REPOSITORY = Path(__file__).parent.parent.parent
PAGE = (REPOSITORY / "docs" / "security.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(?!tests/)([a-z_]+/(?:test_[a-z_]+\.py)?)`", PAGE)
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / "tests" / name).exists()] == []


def test_the_figures_on_the_page_are_the_codes() -> None:
    assert (DEFAULT_BOUNDS.head_seconds, DEFAULT_BOUNDS.body_seconds) == (10, 10)
    for figure in (
        f"idle after {DEFAULT_BOUNDS.idle_seconds:.0f} s",
        f"{DEFAULT_BOUNDS.stalled_reader_seconds:.0f} s of not reading",
        f"above {DEFAULT_BOUNDS.connections} connections",
        f"500 after {DEFAULT_BOUNDS.handler_seconds:.0f} s",
        f"{PUBLIC_BODY_LIMIT_BYTES // 1024} KiB public",
        f"{MAX_TOKEN_CHARACTERS} characters",
        f"{MAX_LIFETIME_SECONDS // 3600} hours",
        f"nesting is {MAX_DEPTH} levels",
    ):
        assert figure in PAGE
