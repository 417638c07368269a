"""The published documents as they are kept in docs/api, and the check that nobody breaks them in silence.

    python -m tests.openapi.contract     # write them anew: `make openapi`

A breaking change is one that callers notice. It is let through when an item of CHANGELOG.md's Unreleased section
names the call and the thing, such as: `POST /api/plan-plays`: `planId` has at most 100 characters.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from local_stack.processes import REPOSITORY
from tests.openapi.breaking_changes import Change, find_breaking_changes
from tests.openapi.documents import Document, publish

CHANGELOG = REPOSITORY / "CHANGELOG.md"


def locate(service: str) -> Path:
    """Return where the document of a service is kept."""
    return REPOSITORY / "docs" / "api" / f"{service}.openapi.json"


def write(document: Document) -> str:
    """Write a document as it is kept: the same document, the same text."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def list_kept(service: str) -> list[Document]:
    """Return the documents that the present one must not break in silence.

    That is the one in docs/api and, where git knows them, the ones of the last commit and of the one before it:
    whoever writes docs/api anew has still to say what was broken.
    """
    path = locate(service)
    kept = [path.read_text()] if path.exists() else []
    for commit in ("HEAD", "HEAD^"):
        command = ["git", "show", f"{commit}:./docs/api/{path.name}"]
        try:
            shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            break
        if shown.returncode == 0:
            kept.append(shown.stdout)
    return [json.loads(text) for text in dict.fromkeys(kept)]


def find_unnamed_changes(service: str) -> list[str]:
    """Return the breaking changes of a service that the changelog does not name."""
    items = list_unreleased(CHANGELOG.read_text())
    changes = [change for kept in list_kept(service) for change in find_breaking_changes(kept, publish()[service])]
    return [f"{service}: {change}" for change in dict.fromkeys(changes) if not is_named(change, items)]


def list_unreleased(changelog: str) -> list[str]:
    """Return the items of the Unreleased section."""
    section = re.search(r"^## Unreleased$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return re.split(r"^- ", section[1], flags=re.MULTILINE)[1:] if section else []


def is_named(change: Change, items: list[str]) -> bool:
    """Tell whether an item names the call and the thing, each as code."""
    return any(f"`{change.operation}`" in item and f"`{change.name or change.operation}`" in item for item in items)


def main() -> None:
    """Write docs/api anew, unless that would break somebody in silence."""
    unnamed = [text for service in publish() for text in find_unnamed_changes(service)]
    if unnamed:
        sys.exit("\n".join(["breaking changes that CHANGELOG.md's Unreleased section does not name:", *unnamed]))
    for service, document in publish().items():
        locate(service).write_text(write(document))
        print(f"wrote {locate(service).relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
