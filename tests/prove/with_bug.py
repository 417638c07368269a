"""`python -m tests.prove.with_bug NAME`: make prove, quickly, of a product with a bug put in on purpose."""

import functools

import typer

from prove.command import prove
from prove.run import VARIABLES
from tests.faults.fault_stack import FaultStack


def main(bug: str) -> None:
    """Run it; the exit codes are those of `python -m prove`."""
    make_stack = functools.partial(FaultStack, bug=bug, variables=VARIABLES, goes_through_links=False)
    prove(make_stack, quick=True)


if __name__ == "__main__":
    typer.run(main)
