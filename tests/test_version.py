"""One version everywhere: the project's, the documents', the command lines'."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.openapi.documents import publish

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_documents_have_the_version_of_the_project() -> None:
    assert {document["info"]["version"] for document in publish().values()} == {VERSION}


@pytest.mark.parametrize("service", ["catalog_service", "activity_service", "metering_service"])
def test_every_command_line_tells_the_version_of_the_project(service: str) -> None:
    command = [sys.executable, "-m", service, "--version"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == VERSION
