"""`python -m tests.faults`: break everything, heal it, and see whether a single charge is wrong."""

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local_stack.errors import StackError
from tests.faults.campaign import Campaign
from tests.faults.fault_kinds import FAULTS
from tests.faults.tally import Tally

VIOLATED, VOID, BROKEN = 1, 3, 4
"""Exit codes: an invariant is broken; no fault bit, so nothing was shown; the stack did not start."""

SEED_SECONDS = 150.0


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long things are broken, all seeds together.")] = 2.0,
    seed: Annotated[int, typer.Option(help="The first seed; the same seed draws the same faults.")] = 1,
    seed_minutes: Annotated[float, typer.Option(min=0.1, help="After so long, the next seed on a new stack.")] = 2.5,
    workers: Annotated[int, typer.Option(min=1, help="Callers at once.")] = 16,
    only: Annotated[str, typer.Option(help="Only faults whose name contains this.")] = "",
    results: Annotated[
        Path | None, typer.Option(help="Add each seed's figures to this file, a JSON line each.")
    ] = None,
) -> None:
    """Start a stack of its own, work on it, break it, heal it, and check every invariant of exactly-once billing."""
    kinds = [name for name in FAULTS if only in name]
    if not kinds:
        raise typer.BadParameter(f"no fault is named like {only}; there are: {', '.join(FAULTS)}")
    tally = Tally()
    left = minutes * 60
    while left > 0:
        campaign = Campaign(seed, min(left, seed_minutes * 60), report=_progress, kinds=kinds, workers=workers)
        try:
            outcome = asyncio.run(campaign.run())
        except StackError as error:
            print(f"\nfaults: {error}", file=sys.stderr)
            raise typer.Exit(BROKEN) from None
        tally.add(outcome)
        _progress("")
        if results is not None:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome.as_document(), default=str) + "\n")
        left -= seed_minutes * 60
        seed += 1
        gc.collect()
    tally.show(Console())
    if tally.violations:
        raise typer.Exit(VIOLATED)
    if tally.is_void:
        raise typer.Exit(VOID)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line[:150]}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
