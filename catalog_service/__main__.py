"""Run the service, or a sub-command: python -m catalog_service --help."""

from catalog_service.cli import run

if __name__ == "__main__":
    run()
