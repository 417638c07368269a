"""What ends a measurement."""


class BenchError(Exception):
    """Say in one line what is missing or went wrong, and what mends it."""
