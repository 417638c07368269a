"""Run the service, or a command: python -m activity_service --help."""

import signal


def main() -> None:
    """Run the command line. Until it is imported, which takes a second, Ctrl-C has nothing to stop, and no words."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from activity_service.cli.main import run

    run()


if __name__ == "__main__":
    main()
