from __future__ import annotations

import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import gateway_bench  # lives beside this file


@pytest.fixture(scope="module")
def running() -> Iterator[gateway_bench.Bench]:
    """One Envoy per file: each test applies a rollout of its own."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slg-"))
    bench = gateway_bench.Bench(directory)
    bench.gateway.start()
    yield bench
    bench.close()
    shutil.rmtree(directory)


@pytest.fixture
def bench(running: gateway_bench.Bench) -> gateway_bench.Bench:
    for server in [*running.stable, running.candidate]:
        if not server.listening:
            server.start()
    return running
