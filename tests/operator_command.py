"""A service's operators' command line, run as an operator runs it: by a process of its own.

Most of what a short command takes is Python reading the program. So one process reads it once, and each command is
a fork of that process, with the arguments, variables and pipes that `python -m` would have.
"""

import asyncio
import functools
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

TIMEOUT_SECONDS = 30.0
SERVICES = ("catalog", "activity", "metering")
PROGRAMS = [
    __name__,
    *(f"{service}_service.{part}" for service in SERVICES for part in ("cli.main", "app")),
    # What the programs leave to the first command that needs it.
    *("service_chassis.cli.serve", "typer._adapters", "typer.rich_utils", "encodings.idna"),
]
"""What is read before there is a command; a name that is none is passed over."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int | None
    output: str
    trace: str
    """What went to standard error."""


async def run_command(service: str, dsn: str, *arguments: str, **variables: str) -> Done:
    """Run `python -m SERVICE_service ARGUMENTS...` on a database, with nobody there to answer questions."""
    return await run_module(f"{service}_service", *arguments, **{f"{service.upper()}_POSTGRES_DSN": dsn, **variables})


async def run_module(module: str, *arguments: str, **variables: str) -> Done:
    """Run `python -m MODULE ARGUMENTS...` until it ends by itself."""
    return await asyncio.to_thread(_run_to_its_end, module, arguments, {**os.environ, **variables})


def _run_to_its_end(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Done:
    with tempfile.TemporaryDirectory(prefix="command-") as directory:
        output, trace = Path(directory, "output"), Path(directory, "trace")
        process = _programs_read_once().Process(
            target=_become, args=(module, arguments, environment, Path.cwd(), output, trace)
        )
        process.start()
        try:
            process.join(TIMEOUT_SECONDS)
            assert process.exitcode is not None, f"{module} {arguments} does not end"
            return Done(process.exitcode, output.read_text(), trace.read_text())
        finally:
            process.kill()
            process.join()


@functools.cache
def _programs_read_once() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PROGRAMS)
    return context


def _become(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, output: Path, trace: Path
) -> None:
    """Become the command, in the process that was forked for it."""
    for descriptor, path in ((0, Path(os.devnull)), (1, output), (2, trace)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
