"""Where a tool cannot be run, that is said, and why."""

import shutil
import subprocess

import pytest

from tests.openapi.check_clients import find_missing


def test_without_node_its_tools_are_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert find_missing() == "there is no node and npm on this machine"


@pytest.mark.parametrize(("version", "missing"), [("v18.19.0", "v18.19.0"), ("v20.0.0", None), ("v24.1.0", None)])
def test_an_old_node_is_no_node(monkeypatch: pytest.MonkeyPatch, version: str, missing: str | None) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, version, ""))
    assert (missing or "None") in str(find_missing())
