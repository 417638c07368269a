"""A service's operators' command line, run as an operator runs it."""

import asyncio
import os
import sys
from dataclasses import dataclass

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int | None
    output: str
    trace: str
    """What went to standard error."""


async def run_command(service: str, dsn: str, *arguments: str, **variables: str) -> Done:
    """Run `python -m SERVICE_service ARGUMENTS...` on a database, with nobody there to answer questions."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{service}_service", *arguments),
        env={**os.environ, f"{service.upper()}_POSTGRES_DSN": dsn, **variables},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        output, trace = await process.communicate(b"")
    return Done(process.returncode, output.decode(), trace.decode())
