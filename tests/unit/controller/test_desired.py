"""What shall run, derived from saved state."""

from __future__ import annotations

import dataclasses

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
