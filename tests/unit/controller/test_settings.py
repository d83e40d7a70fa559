"""Changed settings of an environment are launched, judged and taken back as a changed model is."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch.core import release, spec
from softlaunch.testing import simulator, virtual_traffic


def with_env(environment: spec.EnvironmentSpec, **env: str) -> spec.EnvironmentSpec:
    return dataclasses.replace(environment, env=env)


def settings_of(world: simulator.Simulator) -> dict[str, dict[str, str]]:
    """What runs with which settings, by arm."""
    return {found.name.split("/")[2]: dict(found.env) for found in world.fleet.specs()}


@pytest.fixture
def old(production: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    return with_env(production, LEVEL="info", GONE="1")


@pytest.fixture
def new(production: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    return with_env(production, LEVEL="debug", MORE="2")


@pytest.fixture
def live(world: simulator.Simulator, old: spec.EnvironmentSpec) -> release.Digest:
    digest = world.release("model", commit="a" * 40)
    assert world.launch(digest, old)["outcome"] == "promoted"
    world.step(60)
    return digest


def test_new_settings_run_beside_the_old_ones_until_they_are_promoted(world, live, old, new) -> None:
    number = world.deploy(live, new).rollout_id
    assert number is not None
    world.reach(number, "stepping")

    arm = release.arm(live, 1)
    assert {live.short: old.env, arm.short: new.env} == settings_of(world)
    assert "promoted" == world.end(number)["outcome"]
    assert (arm, live) == (world.serving(), arm.release)
    assert new.env == settings_of(world)[arm.short]
    assert "LEVEL changed" in world.view(number)["reason"] or world.view(number)["settings_changed"]
