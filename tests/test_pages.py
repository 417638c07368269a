"""What the pages tell a person to run is there: each block of code is run or has a reason, each command parses."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from tests.command_list import COMMANDS, PAGE, SERVICES, render
from tests.pages import OPERATORS_PAGES, PAGES, ROOT, list_anchors, list_blocks, list_links, list_named_commands
from tests.stack.test_blocks import RUN

STARTS = "starts a stack itself: every test marked `stack` starts one as it does"
SHOWN = "nothing to run: what comes back, a picture, or lines of a file"
OF_DEVELOPMENT = "runs tests: .ci/run"
FILLED_IN = "has words to fill in: test_every_command_that_a_page_names_is_there parses each line"

NOT_RUN = {
    "README.md": {
        "make run": STARTS,
        "export no_proxy=127.0.0.1,localhost": (
            "the tour: test_the_printed_tour_runs_as_it_is, and test_docs.py holds the two together"
        ),
        "--- a play of one of them: costs a credit": SHOWN,
        "this product       oversold 0, charged twice 0, lost 0": SHOWN,
        "make prove": "tests/prove does",
        "╭─ this product ──────────────────────────╮╭─ meanwhile ───────────────────────────────────────────╮": SHOWN,
        "POST /generate-client-auth-token         public keys (JWKS)": SHOWN,
    },
    "docs/getting-started.md": {
        "make run": STARTS,
        "make test": OF_DEVELOPMENT,
    },
    "docs/console.md": {'{"path":"/console/login/...","expiresAt":"..."}': SHOWN},
    "docs/operations/configuration.md": {"services:": SHOWN},
    "docs/operations/deployment.md": {
        ":8080 (TLS)": SHOWN,
        "PUBLISHED=0.0.0.0:443": SHOWN,
        './ctl catalog clients create acme --name "Acme Ltd"': "README.md's, which is run; a file of one's own",
        "psql --file deploy/pooler.sql": "deploy/test_pooler.py runs the file",
    },
    "docs/operations/observability.md": {
        "docker compose --profile observability up --detach --wait": "deploy/trial brings up what images there are",
    },
    "docs/operations/rotation.md": {
        "CREATE ROLE metering_meanwhile LOGIN IN ROLE metering PASSWORD '...';": "SQL for a server of another kind",
    },
    "docs/operations/runbook.md": {
        "python -m metering_service client CLIENT": FILLED_IN,
        "python -m metering_service grant CLIENT 1000 --grant-id order-1 --expires-at 2027-01-01": FILLED_IN,
    },
    "docs/operations/upgrade.md": {
        "git pull": "of git: deploy/trial follows the rest",
        "session 4711 (psql, user postgres, from 10.0.0.7, since 2026-07-01 14:03:22 UTC) holds a lock": SHOWN,
        "-- transactional: false": SHOWN,
        "docker compose stop proxy metering-proxy catalog activity metering": "deploy/test_major_upgrade.py runs it",
        "docker compose up --detach --wait postgres": "the second half of the one before, run with it",
    },
}
"""Blocks of code that nothing runs, by page and first line, each with the reason."""
TRIED = re.findall(r'follow\(\s*"([^"]+)",\s*"([^"]+)"', (ROOT / "deploy" / "trial" / "__main__.py").read_text())
"""What `make trial` follows on a container engine: page, and how the line begins from which on."""


EXAMPLES = {
    "NOTICE_ID": "01a203fe-6df1-76d1-8aea-479bb05adae2",
    **dict.fromkeys(["FILE", "plans.csv", "admin.key", "/run/secrets/operator/metering_key"], "README.md"),
}
"""What stands for a reader's own, where not any word will do."""


@pytest.mark.parametrize("page", OPERATORS_PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_is_run_or_has_its_reason(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    run = {first_line for of, first_line in RUN if of == name}
    reasons = NOT_RUN.get(name, {}).keys()
    tried = {line for of, line in TRIED if of == name}
    blocks = {block.first_line: f"\n{block.text}" for block in list_blocks(page)}
    assert [line for line in tried if not any(f"\n{line}" in text for text in blocks.values())] == []
    begun = {first_line for first_line in blocks if any(first_line.startswith(line) for line in tried)}
    assert not run & reasons
    assert not begun & (run | reasons)
    assert blocks.keys() == run | reasons | begun


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    for service, words in list_named_commands(page):
        require_usage(f"{service}_service", words)


def require_usage(service: str, words: Sequence[str]) -> None:
    """Hold a call against its command, without running it: its options, its arguments, what they may be."""
    told = " ".join([service, *words])
    if not words or words[0].startswith("-"):  # the service itself, with --help or --version
        return
    name = next((name for name in COMMANDS if f"{told} ".startswith(f"{name} ")), None)
    if name is None:
        assert any(f"{each} ".startswith(f"{told.removesuffix(' --help')} ") for each in COMMANDS), (
            f"no command: {told}"
        )
        return
    given = words[len(name.split()) - 1 :]
    if not given or "--help" in given:
        return
    words = [EXAMPLES.get(word, word) for word in given]
    with COMMANDS[name].make_context(name, words):
        pass


def test_the_page_of_commands_has_each_as_it_is() -> None:
    assert PAGE.read_text() == render(), "write it anew: python -m tests.command_list"


def test_a_command_that_is_not_there_is_found() -> None:
    for wrong in (
        "metering balances acme",
        "metering balance acme --no-such",
        "catalog clients create acme",
        "activity billing status now",
        "metering grant acme many --grant-id order-1",
    ):
        service, *words = wrong.split()
        with pytest.raises((AssertionError, typer.TyperException)):
            require_usage(f"{service}_service", words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, anchor in list_links(page):
        if anchor and target.suffix == ".md":
            assert anchor in list_anchors(target), f"{target.name}#{anchor}"


def test_there_are_pages_commands_and_headings() -> None:
    named = {service for page in PAGES for service, _ in list_named_commands(page)}
    assert {f"{service}_service" for service in named} == set(SERVICES)
    assert "postgresqls-major-version" in list_anchors(ROOT / "docs" / "operations" / "upgrade.md")
