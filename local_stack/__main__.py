"""`python -m local_stack`: the whole product on this machine, in the foreground."""

import signal


def main() -> None:
    """Run the command line. Until it is imported, which takes a second, Ctrl-C has nothing to stop, and no words."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from local_stack.command import application

    application(prog_name="python -m local_stack")


if __name__ == "__main__":
    main()
