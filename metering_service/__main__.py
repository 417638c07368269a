"""Run the service, or a sub-command: python -m metering_service --help."""

from metering_service.cli.main import run

run()
