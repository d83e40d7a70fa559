from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.adapters.signing import keys, primitives
from softlaunch.controller import evidence
from softlaunch.core import evidence_policy, intoto, spec


@pytest.fixture
def kept(world, tmp_path) -> keys.KeyDirectory:
    found = keys.KeyDirectory(tmp_path / "keys", {})
    found.new("release")
    world.commands._proofs = evidence.Evidence(releases=world.registry, keys=found, verifier=primitives.Verifier())
    return found


def test_an_unsigned_release_is_not_launched_where_evidence_is_required(world, production, stable, kept) -> None:
    signed = dataclasses.replace(
        production, evidence=evidence_policy.EvidenceSpec(require=evidence_policy.Requirement.SIGNED)
    )

    with pytest.raises(errors.ConfigError) as refused:
        world.deploy(world.release("new"), signed)

    assert errors.Code.UNSIGNED is refused.value.code
    assert {} == world.loop.ledger.rollouts


def test_an_approval_is_signed_for_its_rollout_and_environment(world, production, stable, kept) -> None:
    new = world.release("new")
    asking = dataclasses.replace(
        production,
        strategy=dataclasses.replace(
            production.strategy,
            steps=(spec.StepSpec(kind=spec.StepKind.APPROVAL), *production.strategy.steps),
        ),
    )
    number = world.deploy(new, asking).rollout_id
    world.reach(number, "stepping", step=0)

    (place,) = world.loop.ledger.rollouts
    world.commands.approve(service=place[0], environment=place[1], by="ann", reason="looked")

    (attached,) = world.registry.referrers(new, intoto.ARTIFACT_TYPE)
    assert intoto.PREDICATE_TYPES[intoto.Kind.APPROVAL] == attached.annotations[intoto.PREDICATE_ANNOTATION]
    found = world.commands._proofs.verify(new, keys=kept.trusted())
    (approval,) = evidence_policy.approvals(found, environment=place[1], rollout=number)
    assert ("ann", "looked", new) == (approval.predicate["by"], approval.predicate["reason"], approval.subject)
    assert () == evidence_policy.approvals(found, environment="integration", rollout=number)
