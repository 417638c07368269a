"""`python -m activity_service`: serve, migrate, and what operators ask about billing."""

from activity_service.cli.main import run_command_line

run_command_line()
