"""Give the published documents to other people's tools, and take the README's tour with what they make of them.

    python -m tests.openapi.check_clients GENERATOR   # GENERATOR: directory of openapi-python-client's environment

On the stack that STACK_JSON names, or one of its own. What needs Node.js is left out where there is none, and that is
said.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from local_stack.processes import REPOSITORY
from tests.openapi.documents import publish
from tests.openapi.fuzz import open_stack

CLIENTS = Path(__file__).parent / "clients"
GUIDE = REPOSITORY / "docs" / "meter-your-endpoint.md"
"""Whose TypeScript is compiled, too; its test runs it."""
OLDEST_NODE = 20


def main() -> None:
    """Raise CalledProcessError when a tool finds fault or a tour does not go as the README says."""
    generator = Path(sys.argv[1]).absolute() / "bin"
    with tempfile.TemporaryDirectory() as name, open_stack() as stack_file:
        directory = Path(name)
        for service, document in publish().items():
            (directory / f"{service}.json").write_text(json.dumps(document, indent=2))
        environment = {**os.environ, "STACK_JSON": str(stack_file.absolute())}
        _tour_in_python(directory, generator, environment)
        missing = find_missing()
        if missing:
            print(f"SKIPPED: Spectral and openapi-typescript were not run: {missing}")
        else:
            _tour_in_typescript(directory, environment)


def _tour_in_python(directory: Path, generator: Path, environment: dict[str, str]) -> None:
    environment = {**environment, "PATH": f"{generator}{os.pathsep}{environment['PATH']}"}
    for service in publish():
        options = ["--path", f"{service}.json", "--output-path", f"{service}_api", "--meta", "none"]
        command = [str(generator / "openapi-python-client"), "generate", *options, "--fail-on-warning"]
        subprocess.run(command, cwd=directory, env=environment, check=True)
    shutil.copy(CLIENTS / "tour.py", directory)
    subprocess.run([str(generator / "python"), "tour.py"], cwd=directory, env=environment, check=True)


def find_missing() -> str | None:
    """Return why the tools of Node.js cannot be run, or None."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no node and npm on this machine"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"they need Node.js {OLDEST_NODE}, and this one is {version}"
    return None


def _tour_in_typescript(directory: Path, environment: dict[str, str]) -> None:
    for name in ("package.json", "package-lock.json", "spectral.yaml", "tsconfig.json", "tour.ts"):
        shutil.copy(CLIENTS / name, directory)
    [code] = re.findall(r"^```ts\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    (directory / "guide.ts").write_text(code)

    def run(*command: str) -> None:
        subprocess.run(command, cwd=directory, env=environment, check=True)

    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    documents = [f"{service}.json" for service in publish()]
    run("node_modules/.bin/spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity=hint", *documents)
    for service in publish():
        run("node_modules/.bin/openapi-typescript", f"{service}.json", "--output", f"{service}.ts")
    run("node_modules/.bin/tsc")
    run("node", "tour.js")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {' '.join(error.cmd)}")
