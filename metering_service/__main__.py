"""Run the service, or a command: python -m metering_service --help."""

from metering_service.cli.main import run

if __name__ == "__main__":
    run()
