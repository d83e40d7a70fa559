"""Reports of load tests become evidence of their release."""

from __future__ import annotations

import json

import pytest

from softlaunch import errors
from softlaunch.adapters.signing import keys, primitives
from softlaunch.controller import evidence, load_reports
from softlaunch.core import intoto, release
from softlaunch.ports import store

MEASURED = {"verdict": "pass", "planned": 3_000, "latency_ms": {"p99": 8.0}}


def reports(world, found: keys.KeyDirectory) -> load_reports.LoadReports:
    proofs = evidence.Evidence(releases=world.registry, keys=found, verifier=primitives.Verifier())
    return load_reports.LoadReports(releases=world.registry, keys=found, proofs=proofs)


@pytest.fixture
def record(world, production) -> store.RolloutRecord:
    world.deploy(world.release("new"), production)
    return world.loop.ledger.rollouts["demo", "production"]


def test_with_a_key_the_report_is_a_statement_that_verifies(world, record, tmp_path) -> None:
    kept = keys.KeyDirectory(tmp_path / "keys", {})
    kept.new("ci")

    reports(world, kept).add(record, MEASURED)

    proofs = evidence.Evidence(releases=world.registry, keys=kept, verifier=primitives.Verifier())
    (found,) = proofs.verify(record.candidate, keys=kept.trusted()).findings
    assert ("", intoto.Kind.LOAD) == (found.problem, found.statement.kind)
    (file,) = found.statement.predicate["files"]
    said = json.loads(file["content"])
    assert ("verify", "pass", 3_000) == (file["name"], said["verdict"], said["planned"])
    assert (record.candidate.value, record.id, "production") == (said["release"], said["rollout"], said["environment"])


def test_without_a_key_the_report_is_attached_as_it_is(world, record, tmp_path) -> None:
    reports(world, keys.KeyDirectory(tmp_path / "none", {})).add(record, MEASURED)

    assert () == tuple(world.registry.referrers(record.candidate, intoto.ARTIFACT_TYPE))
    (attached,) = world.registry.referrers(record.candidate, load_reports.ARTIFACT_TYPE)
    assert 8.0 == json.loads(attached.payload)["latency_ms"]["p99"]


def test_a_report_that_cannot_be_kept_stops_nothing(world, record, tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> release.Digest:
        raise errors.UnavailableError("Disk full.", remedy="Make room.", code=errors.Code.STATE_UNWRITABLE)

    monkeypatch.setattr(world.registry, "refer", full)

    reports(world, keys.KeyDirectory(tmp_path / "none", {})).add(record, MEASURED)
