"""A simulated machine, and an environment to launch into."""

from __future__ import annotations

import pathlib

import pytest

from softlaunch.core import release, spec
from softlaunch.testing import simulator


@pytest.fixture
def world(tmp_path: pathlib.Path) -> simulator.Simulator:
    return simulator.Simulator(tmp_path)


@pytest.fixture
def production() -> spec.EnvironmentSpec:
    strategy = spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=spec.shares(1_000, 5_000, 10_000),
        watch_seconds=5.0,
        key_header="x-user-id",
    )
    return spec.EnvironmentSpec(name="production", strategy=strategy)


@pytest.fixture
def stable(world: simulator.Simulator, production: spec.EnvironmentSpec) -> release.Digest:
    """A release that has been live for a while, so that its latency is known."""
    digest = world.release("stable")
    assert world.launch(digest, production)["outcome"] == "promoted"
    world.step(60)
    return digest
