"""Run the service, or a sub-command: python -m metering_service --help."""

from metering_service.command_line import run

run()
