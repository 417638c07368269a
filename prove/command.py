"""The command line: run it, stop all of it when told to, and end with an exit code."""

import asyncio
import functools
import signal
from contextlib import suppress
from typing import Annotated

import typer

from local_stack.errors import StackError
from prove import STOPPED
from prove.breakable_stack import BreakableStack
from prove.display import Display
from prove.rest import UNREACHABLE
from prove.run import VARIABLES, MakeStack, Proof

NOT_SOUND, BROKEN = 1, 4
"""Exit codes: something was sold or charged wrongly; the stack did not start or did not sell."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds of each, to see that all runs.")] = False,
) -> None:
    """Sell the last credits of many clients, kill everything meanwhile, and count what went wrong."""
    prove(functools.partial(BreakableStack, variables=VARIABLES), quick=quick)


def prove(make_stack: MakeStack, *, quick: bool) -> None:
    """Run on the stack that `make_stack` makes, and end with the exit code; Ctrl-C stops all of it."""
    display = Display()
    proof = Proof(make_stack, display, is_quick=quick)
    try:
        is_sound = asyncio.run(_stoppable(proof, display))
    except asyncio.CancelledError:
        with suppress(OSError, StackError):
            display.say("stopped: nothing of it runs any more")
        raise typer.Exit(STOPPED) from None
    except (StackError, *UNREACHABLE) as error:
        typer.echo(f"prove: {error or type(error).__name__}", err=True)
        raise typer.Exit(BROKEN) from None
    if not is_sound:
        raise typer.Exit(NOT_SOUND)


async def _stoppable(proof: Proof, display: Display) -> bool:
    """Run until done, or until SIGINT, SIGTERM or SIGHUP; a second one would only leave the stopping half done."""
    running = asyncio.create_task(proof.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, functools.partial(_cancel_once, running, display))
    return await running


def _cancel_once(running: asyncio.Task[bool], display: Display) -> None:
    if not running.cancelling():
        running.cancel()
        with suppress(OSError, StackError):  # a closed terminal
            display.close()
            display.say("stopping")
