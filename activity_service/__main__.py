"""Run the service, or a command: python -m activity_service --help."""

from activity_service.cli.main import run

if __name__ == "__main__":
    run()
