"""Small real data beside the checkout, for the tests that want it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The folder ``../shared/data/NAME``; the test is skipped, visibly, where it is absent."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in ../shared/data")
    return folder
