from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

# The laboratory is the benchmarks': what is measured there is tested here.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks" / "launches"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))
# Likewise the Sigstore of the signing tests.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "unit" / "adapters" / "signing"))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration" / "signing"))

import flights_lab
import lab
import process_lab


@pytest.fixture(scope="session")
def running() -> Iterator[process_lab.ProcessLab]:
    """`softlaunch up` with one service live in production; for tests that leave it as they found it."""
    with process_lab.laboratory() as found:
        view = found.deploy(found.make("stable"), lab.strategy())
        assert view["outcome"] == "promoted", view["reason"]
        yield found


@pytest.fixture(scope="session")
def built() -> Iterator[flights_lab.Flights]:
    """The flights service: the old release is live, the new one is built."""
    with flights_lab.built() as found:
        yield found


@pytest.fixture
def flights(built) -> Iterator[flights_lab.Flights]:
    assert built.old == built.live
    yield built
    built.old_again()
