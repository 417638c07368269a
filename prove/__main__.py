"""`python -m prove`: kill anything while it sells the last three credits."""

import signal
import sys

from prove import STOPPED


def main() -> None:
    """Run the command line. Until it is imported, which takes a second, there is nothing that Ctrl-C has to stop."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(STOPPED))
    import typer

    from prove.command import main as command

    typer.run(command)


if __name__ == "__main__":
    main()
