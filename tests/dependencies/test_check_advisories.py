"""A known vulnerability fails; not being able to know is said."""

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.dependencies import check_advisories

Answers = Callable[[dict[str, Any]], None]

FINE = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
VULNERABLE = {"name": "left", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
NOT_KNOWN = {"name": "right", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Let pip-audit and npm print the documents of their names; nothing for one that is not given."""

    def set_answers(documents: dict[str, Any]) -> None:
        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            document = documents.get("npm" if command[0] == "npm" else "pip_audit")
            return subprocess.CompletedProcess(command, 0, json.dumps(document) if document else "no network", "")

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(shutil, "which", lambda name: name)

    return set_answers


def test_no_advisory_is_a_success(answer: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"pip_audit": {"dependencies": [FINE, NOT_KNOWN]}, "npm": {"vulnerabilities": {}}})
    assert check_advisories.main() == 0
    out = capsys.readouterr().out
    assert "no advisory against the locked Python packages" in out
    assert "NOT CHECKED: right" in out


def test_an_advisory_is_a_failure_with_its_name(answer: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"pip_audit": {"dependencies": [FINE, VULNERABLE]}})
    assert check_advisories.main() == 1
    assert "left 1.0: PYSEC-1, fixed in 1.1" in capsys.readouterr().err


def test_an_advisory_against_an_npm_package_is_a_failure(answer: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"npm": {"vulnerabilities": {"left-pad": {"severity": "high", "range": "<1.3"}}}})
    assert check_advisories.main() == 1
    assert "left-pad: high (<1.3)" in capsys.readouterr().err


@pytest.mark.parametrize("documents", [{}, {"pip_audit": {"dependencies": [NOT_KNOWN]}, "npm": {"message": "405"}}])
def test_without_a_list_it_is_said_that_nothing_was_checked(
    answer: Answers, capsys: pytest.CaptureFixture[str], documents: dict[str, Any]
) -> None:
    answer(documents)
    assert check_advisories.main() == 0
    assert capsys.readouterr().out.count("NOT CHECKED") == 2
