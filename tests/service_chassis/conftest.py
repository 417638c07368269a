"""A service's package, as small as one can be."""

from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A service's package."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "sql").mkdir()
    (tmp_path / "migrations" / "0001_first.sql").write_text("-- why: first\nCREATE TABLE first (n int);\n")
    (tmp_path / "migrations" / "0002_second.sql").write_text(
        "INSERT INTO first VALUES (1);\nINSERT INTO first VALUES (2);\n"
    )
    return tmp_path
