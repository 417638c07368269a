"""The guide's blocks, run in order and in one shell, as a reader runs them."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

from local_stack.processes import REPOSITORY

GUIDE = REPOSITORY / "docs" / "meter-your-endpoint.md"
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(sh|python|ts)\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
TIMEOUT_SECONDS = 120.0


async def run_guide(directory: Path) -> str:
    """Run every block, on the stack whose stack.json is in `directory`, and return what they print."""
    script = directory / "guide.sh"
    script.write_text(as_shell(directory))
    ended = await asyncio.create_subprocess_exec(
        "bash",
        str(script),
        cwd=REPOSITORY,
        env={**os.environ, "STACK_DIR": str(directory), "PYTHON": sys.executable},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(ended.communicate(), TIMEOUT_SECONDS)
    assert ended.returncode == 0, output.decode()
    return output.decode()


def as_shell(directory: Path) -> str:
    """Return all blocks as one script; those of TypeScript as Node.js runs them, where there is one."""
    lines = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCKS):
        file = directory / f"block_{number}.{language}"
        file.write_text(code)
        lines.append(f"echo '--- {number} {language}'")
        if language == "sh":
            lines.append(code)
        elif language == "python":
            lines.append(f"{sys.executable} {file}")
        elif shutil.which("node"):
            script = file.with_suffix(".mjs")
            script.write_text(without_types(code))
            lines.append(f"node {script}")
    return "\n".join(lines)


def without_types(code: str) -> str:
    """Return TypeScript without its types: of the few shapes that the guide has, and of no others.

    Node.js 20 does not strip them itself. What is left over would not run, and the test would fail; that they are
    right is for `make clients`, which has a compiler.
    """
    code = re.sub(r"^type .*?;$", "", code, flags=re.M | re.S)
    code = re.sub(r"\): Promise<\w+> \{", ") {", code)
    code = re.sub(r" as string(?=,)|<any>|(?<=const answer): Answer", "", code)
    code = re.sub(r"(?<=let answer): string", "", code)
    return re.sub(r"\b(\w+): (string|object|number)(?=[,) ])", r"\1", code)
