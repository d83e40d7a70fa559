"""What shall run, derived from saved state."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.controller import desired


def test_a_candidate_runs_in_the_environment_it_is_launched_into_and_stable_in_its_own(
    world, production, stable
) -> None:
    candidate = world.release("candidate")

    world.deploy(candidate, dataclasses.replace(production, env={"LOOKUP": "on"}))
    wanted = desired.replicas(
        tuple(world.loop.ledger.lives.values()), world.loop.ledger.rollouts, now=world.clock.now()
    ).values()

    assert {stable: {}, candidate: {"LOOKUP": "on"}} == {found.release: dict(found.env) for found in wanted}


def test_a_changed_env_alone_is_refused_because_no_process_would_see_it(world, production, stable) -> None:
    changed = dataclasses.replace(production, env={"LOOKUP": "on"})

    with pytest.raises(errors.ConfigError, match="with another `env:`"):
        world.deploy(stable, changed)
