"""Ask whether there are advisories against anything that the lock files name.

    python -m tests.dependencies.check_advisories

Fails on a known vulnerability. Where no list of advisories can be reached, says so in one line, and is no failure:
what cannot be known here is found where the repository is hosted (.github/dependabot.yml).
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from local_stack.processes import REPOSITORY

SOURCES = ("pypi", "osv")
"""PyPI's own list, and where that cannot be asked, the one of osv.dev."""
TIMEOUT_SECONDS = 60.0
PYTHON_LOCKS = ("requirements/dev.lock", "requirements/client-generator.lock")
"""Between them they hold what the other lists hold too."""
NPM_PROJECT = "tests/openapi/clients"


def main() -> int:
    """Return 1 when there is an advisory, else 0."""
    failed = False
    for kind, found in (("Python", list_python_advisories()), ("npm", list_npm_advisories())):
        if found is None:
            print(f"NOT CHECKED: {kind} packages: no list of advisories can be reached from this machine")
        elif found:
            print("\n".join(found), file=sys.stderr)
            failed = True
        else:
            print(f"no advisory against the locked {kind} packages")
    return 1 if failed else 0


def list_python_advisories() -> list[str] | None:
    """Return a line for each advisory, or None when nobody can be asked."""
    for source in SOURCES:
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
        command += ["--vulnerability-service", source, "--progress-spinner", "off", "--timeout", "5"]
        for lock in PYTHON_LOCKS:
            command += ["--requirement", lock]
        packages = (_run(command) or {}).get("dependencies", [])
        # A mirror without advisories answers that it does not know any package at all.
        if any("skip_reason" not in package for package in packages):
            for package in packages:
                if "skip_reason" in package:
                    print(f"NOT CHECKED: {package['name']}: {source} does not know it")
            return list(_describe(packages))
    return None


def _describe(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for advisory in package.get("vulns", ()):
            fixed = f", fixed in {', '.join(advisory['fix_versions'])}" if advisory["fix_versions"] else ""
            yield f"{package['name']} {package['version']}: {advisory['id']}{fixed}"


def list_npm_advisories() -> list[str] | None:
    """Return a line for each package with an advisory, or None when nobody can be asked or there is no npm."""
    if shutil.which("npm") is None:
        return None
    fetching = ["--fetch-retries=0", f"--fetch-timeout={int(TIMEOUT_SECONDS / 2)}000"]
    report = _run(["npm", "audit", "--package-lock-only", "--json", *fetching, "--prefix", NPM_PROJECT])
    if report is None or "vulnerabilities" not in report:
        return None
    return [f"{name}: {found['severity']} ({found['range']})" for name, found in report["vulnerabilities"].items()]


def _run(command: list[str]) -> dict[str, Any] | None:
    """Return the JSON that a command prints, or None."""
    try:
        answer = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        document = json.loads(answer.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return document if isinstance(document, dict) else None


if __name__ == "__main__":
    sys.exit(main())
