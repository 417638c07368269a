"""What a run ends with: the product's own audits, and a refusal with its receipt."""

import asyncio
import itertools
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local_stack.errors import StackError
from local_stack.processes import REPOSITORY
from local_stack.state_directory import write_private
from prove.breakable_stack import BreakableStack
from prove.counting import REFUSED
from prove.history import Attempt
from prove.product import MeteredPlans
from prove.rest import UNREACHABLE

AUDIT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Audit:
    """A command that an operator could type, what it printed, and whether it found all to be well."""

    command: str
    output: str
    is_sound: bool


async def run_audits(stack: BreakableStack) -> list[Audit]:
    """Run metering's and activity's audits on the stack at rest. Raises StackError when one cannot look."""
    key_file = stack.directory / "admin-key"
    write_private(key_file, stack.secrets["admin_key"])
    # At rest nothing may be on its way any more, however young.
    joined = {
        "--in-flight-seconds": "0",
        "--metering-url": stack.url("metering"),
        "--metering-key-file": str(key_file),
    }
    return list(await asyncio.gather(_audit(stack, "metering", {}), _audit(stack, "activity", joined)))


async def _audit(stack: BreakableStack, service: str, options: Mapping[str, str]) -> Audit:
    arguments = ["-m", f"{service}_service", "audit", *itertools.chain.from_iterable(options.items())]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=REPOSITORY,
        env={**os.environ, f"{service.upper()}_POSTGRES_DSN": stack.dsns[service]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(AUDIT_TIMEOUT_SECONDS):
            output = (await process.communicate())[0].decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode not in (0, 1):
        raise StackError(f"{service}'s audit could not look: {output}")
    return Audit(shlex.join(["python", *arguments]), output, process.returncode == 0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller was answered, and the receipt that the product keeps of it."""

    client_id: str
    answer: Any
    receipt: Any

    def render(self) -> str:
        """Return both as JSON for people."""
        return f"{json.dumps(self.answer)}\n{json.dumps(self.receipt, indent=2)}"


async def fetch_refusal(product: MeteredPlans, attempts: Sequence[Attempt]) -> Refusal | None:
    """Return the latest refusal whose receipt is kept; None when nobody was refused, or the last second was lost."""
    for attempt in reversed(attempts):
        if attempt.status == REFUSED:
            try:
                path = f"/internal/clients/{attempt.client_id}/refusals?limit=1"
                lines = (await product.call("GET", path))["refusals"]
            except UNREACHABLE as error:
                raise StackError(f"metering did not say why it refused: {error}") from error
            if lines:
                return Refusal(attempt.client_id, attempt.answer, lines[0]["lastReceipt"])
    return None
