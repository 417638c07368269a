"""Write the baseline of the three services anew: python -m tests.upgrade.take_baseline (at a release)."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).with_name("write_baseline.py"))]))
