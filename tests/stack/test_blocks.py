"""What the operators' pages say to run, run as it stands there, against a running stack."""

import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, Block, list_blocks

pytestmark = [pytest.mark.stack, pytest.mark.system]

TIMEOUT_SECONDS = 120.0
RUN: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("README.md", './ctl catalog clients create acme --name "Acme Ltd"'): {"acme": "NEW"},
    (
        "docs/console.md",
        'curl -s -X POST http://127.0.0.1:8088/console/login-links -H "Authorization: Bearer $ADMIN_KEY"',
    ): {"http://127.0.0.1:8088": "METERING_ADMIN"},
    ("docs/operations/deployment.md", "ADMIN=http://127.0.0.1:8087 KEY=$(cat secrets/operator/catalog_key)"): {
        "ADMIN=http://127.0.0.1:8087 KEY=$(cat secrets/operator/catalog_key)": ""
    },
    (
        "docs/operations/rotation.md",
        "curl -s https://HOST/rotate-client-secret -H 'Content-Type: application/json'",
    ): {
        "https://HOST": "$CATALOG",
        "acme": "CLIENT",
        '"..."': '"SECRET"',
    },
    (
        "docs/operations/rotation.md",
        'curl -s "$ADMIN/admin/clients/acme/secrets" -H "Authorization: Bearer $KEY"',
    ): {"acme": "CLIENT", "secrets/ID": "secrets/OLD"},
}
"""The blocks that are run, by page and first line, and what a reader puts in place of what is there.

A word in capitals is one of the test's own: a client that is not there yet or one that is, its secret and that one's
id, an address.
"""
PRELUDE = """
set -euo pipefail
eval "$(./ctl addresses)"
curl() { command curl --fail-with-body --no-progress-meter "$@"; }
"""


def find_block(page: str, first_line: str) -> Block:
    return next(block for block in list_blocks(ROOT / page) if block.first_line == first_line)


@pytest.fixture
def environment(stack: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """Return the variables of a shell in which `./ctl` finds the stack."""
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    return {
        **os.environ,
        "STACK_DIR": str(tmp_path),
        "no_proxy": "127.0.0.1",
        "ADMIN": stack["catalog"]["admin_url"],
        "KEY": stack["admin_keys"]["catalog"],
        "ADMIN_KEY": stack["admin_keys"]["metering"],
    }


@pytest.mark.parametrize(("page", "first_line"), RUN, ids=lambda word: word[:40])
def test_a_block_of_a_page_runs_as_it_stands(
    page: str, first_line: str, stack: dict[str, Any], environment: dict[str, str]
) -> None:
    def ctl(*arguments: str) -> Any:
        done = subprocess.run(["./ctl", *arguments], cwd=ROOT, env=environment, capture_output=True, check=True)
        return json.loads(done.stdout)

    there = f"there-{secrets.token_hex(4)}"
    words = {"NEW": f"new-{secrets.token_hex(4)}", "CLIENT": there, "METERING_ADMIN": stack["metering"]["admin_url"]}
    if "CLIENT" in RUN[page, first_line].values():
        words["SECRET"] = ctl("catalog", "clients", "create", there, "--name", "Acme Ltd", "--json")["client_secret"]
        words["OLD"] = ctl("catalog", "secrets", "list", there, "--json")[0]["secret_id"]
    text = find_block(page, first_line).text
    for old, new in RUN[page, first_line].items():
        assert old in text
        for word, meant in words.items():
            new = new.replace(word, meant)
        text = text.replace(old, new)
    done = subprocess.run(
        ["bash", "-c", PRELUDE + text],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout
