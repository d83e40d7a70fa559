from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

# The laboratory is the benchmarks': what is measured there is tested here.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks" / "launches"))

import lab
import process_lab


@pytest.fixture(scope="session")
def running() -> Iterator[process_lab.ProcessLab]:
    """`softlaunch up` with one service live in production; for tests that leave it as they found it."""
    with process_lab.laboratory() as found:
        view = found.deploy(found.make("stable"), lab.strategy())
        assert view["outcome"] == "promoted", view["reason"]
        yield found
