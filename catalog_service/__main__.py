"""Run the service, or a command: python -m catalog_service --help."""

from catalog_service.cli.main import run

if __name__ == "__main__":
    run()
