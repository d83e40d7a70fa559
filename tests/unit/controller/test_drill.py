"""Drill releases have digests of their own, and their rollouts scorecards."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci
from softlaunch.controller import drill
from softlaunch.core import drills, release_json
from softlaunch.testing import registry as memory
from softlaunch.testing import releases

Name = drills.FaultName


@pytest.fixture(params=["oci", "memory"])
def registry(request, tmp_path):
    return oci.OciRegistry(tmp_path / "registry") if request.param == "oci" else memory.MemoryRegistry()


@pytest.fixture
def real(tmp_path: pathlib.Path) -> pathlib.Path:
    return releases.write(tmp_path / "real", name="real")


def test_the_same_release_and_fault_have_one_digest_and_another_fault_another(registry, real, tmp_path) -> None:
    before = registry.push(real)
    (real / "code" / "__pycache__").mkdir()
    planted = [drills.fault(Name.NAN), drills.fault(Name.NAN), drills.fault(Name.NAN, {"percent": 50})]

    digests = [
        registry.push(drill.derive(real, each, tmp_path / f"drill-{number}")) for number, each in enumerate(planted)
    ]

    assert digests[0] == digests[1]
    assert len({before, *digests}) == 3
    assert registry.push(real) == before


def test_a_drill_release_says_what_it_is_wherever_it_is_unpacked(registry, real, tmp_path) -> None:
    planted = drills.fault(Name.HANG)
    digest = registry.push(drill.derive(real, planted, tmp_path / "drill"))

    content = registry.pull(digest, tmp_path / "pulled")

    assert content.drill == "hang"
    assert drills.load((tmp_path / "pulled" / "drill.json").read_bytes()) == planted


def test_a_drill_that_somebody_took_out_of_an_unpacked_release_is_put_back(registry, real, tmp_path) -> None:
    digest = registry.push(drill.derive(real, drills.fault(Name.HANG), tmp_path / "drill"))
    registry.pull(digest, tmp_path / "pulled")
    (tmp_path / "pulled" / "drill.json").unlink()

    registry.pull(digest, tmp_path / "pulled")

    assert (tmp_path / "pulled" / "drill.json").exists()


def test_real_releases_are_written_as_before_there_were_drills(real) -> None:
    raw = (real / "release.json").read_bytes()

    assert b"drill" not in raw
    assert release_json.dump_content(release_json.load_content(raw)) == raw


def test_a_drill_release_is_not_drilled(real, tmp_path) -> None:
    drill.derive(real, drills.fault(Name.NAN), tmp_path / "drill")

    with pytest.raises(errors.ConfigError, match="drill release itself"):
        drill.derive(tmp_path / "drill", drills.fault(Name.NAN), tmp_path / "twice")
    with pytest.raises(errors.ConfigError, match="is no release"):
        drill.derive(tmp_path / "nowhere", drills.fault(Name.NAN), tmp_path / "none")


def guardrail(verdict: str = "inconclusive", log_e: float = 0.0, *, enforcing: bool = True) -> dict[str, Any]:
    return {"verdict": verdict, "enforcing": enforcing, "log_e": log_e, "reason": ""}


def view(
    outcome: str | None = "rolled_back", *, requests: int = 12, verdict: str = "fail", **guardrails: Any
) -> dict[str, Any]:
    return {
        "id": 7,
        "service": "demo",
        "environment": "staging",
        "created_at": 99.0,
        "finished_at": 101.0,
        "outcome": outcome,
        "reason": "errors broke.",
        "measured": {
            "candidate_attempts": requests,
            "candidate_bad": requests // 2,
            "first_bad_at": 100.0 if requests else None,
            "stable_again_at": 100.25,
        },
        "evidence": {"verdict": verdict, "guardrails": guardrails or {"errors": guardrail("fail", 9.0)}},
    }


def test_the_net_held_when_an_expected_guardrail_broke_and_no_user_failed() -> None:
    card = drill.score(view(), drills.fault(Name.ERRORS_5XX), users=drill.Users(sent=900, failed=0))

    assert card.held
    assert ("errors", 0.25, 12, 6) == (
        card.caught_by,
        card.seconds_to_stable,
        card.candidate_requests,
        card.candidate_bad,
    )
    assert json.loads(json.dumps(card.document()))["held"] is True
    assert "HELD" in card.lines()[0]
    assert "0 of 900" in "\n".join(card.lines())


def test_a_user_who_failed_is_a_hole_in_the_net() -> None:
    card = drill.score(view(), drills.fault(Name.ERRORS_5XX), users=drill.Users(sent=900, failed=1))

    assert not card.held
    assert "1 of 900 requests failed for users." in card.problems


def test_being_caught_by_another_guardrail_is_held_and_said() -> None:
    found = view(latency=guardrail("inconclusive", 3.0), errors=guardrail("inconclusive", 1.0))
    card = drill.score(found, drills.fault(Name.MEMORY_LEAK))

    assert card.held
    assert "latency" == card.caught_by
    assert "not by memory" in card.notes[0]


def test_an_expected_guardrail_is_named_before_a_stronger_one() -> None:
    found = view(errors=guardrail("fail", 99.0), latency=guardrail("fail", 5.0))

    assert "latency" == drill.score(found, drills.fault(Name.LATENCY_TAIL)).caught_by


def test_a_guardrail_that_only_observes_did_not_hold() -> None:
    found = view("aborted", verdict="inconclusive", memory=guardrail("fail", 20.0, enforcing=False))
    card = drill.score(found, drills.fault(Name.MEMORY_LEAK))

    assert not card.held
    assert "memory saw it and only observes" in card.problems[0]


def test_nothing_broke_is_not_held() -> None:
    card = drill.score(view("aborted", verdict="inconclusive", errors=guardrail()), drills.fault(Name.ERRORS_5XX))

    assert not card.held
    assert "" == card.caught_by


def test_a_frozen_rollout_that_the_drill_ended_was_caught() -> None:
    assert drill.score(view("aborted"), drills.fault(Name.ERRORS_5XX)).held


def test_a_fault_that_met_no_user_was_not_tried() -> None:
    found = view(requests=0, verdict="inconclusive")

    assert not drill.score(found, drills.fault(Name.ERRORS_5XX)).held
    assert drill.score(found, drills.fault(Name.ERRORS_5XX, smoke=True)).held


def test_a_slow_start_holds_when_no_request_came_near_it() -> None:
    waited = view("aborted", requests=0, verdict="inconclusive")

    assert drill.score(waited, drills.fault(Name.SLOW_START)).held
    assert not drill.score(view("aborted", requests=3), drills.fault(Name.SLOW_START)).held


def test_a_promoted_drill_never_held() -> None:
    assert "promoted" in drill.score(view("promoted"), drills.fault(Name.NAN)).problems[0]


def test_a_rollout_that_runs_has_no_scorecard() -> None:
    with pytest.raises(errors.InvariantError):
        drill.score(view(None), drills.fault(Name.NAN))


def test_a_silent_fault_is_timed_from_the_first_request_that_met_it() -> None:
    found = view(memory=guardrail("fail", 9.0))
    found["measured"] |= {"first_bad_at": None, "first_candidate_at": 90.0}

    assert 10.25 == drill.score(found, drills.fault(Name.MEMORY_LEAK)).seconds_to_stable


def test_a_guardrail_that_observes_and_saw_nothing_is_named_as_the_hole() -> None:
    found = view("aborted", verdict="inconclusive", memory=guardrail(enforcing=False), errors=guardrail())
    card = drill.score(found, drills.fault(Name.MEMORY_LEAK))

    assert not card.held
    assert "memory only observes here" in card.problems[0]
    assert "--enforce" in card.problems[0]
    assert "" == drill.watched_only(found, drills.fault(Name.MEMORY_LEAK))


def test_whether_a_guardrail_saw_the_fault_without_a_say_is_known_while_the_drill_runs() -> None:
    found = view(None, verdict="inconclusive", memory=guardrail("fail", 20.0, enforcing=False))

    assert "memory" == drill.watched_only(found, drills.fault(Name.MEMORY_LEAK))
    assert "" == drill.watched_only(found, drills.fault(Name.NAN))
    assert "" == drill.watched_only({**found, "evidence": None}, drills.fault(Name.MEMORY_LEAK))


def test_requests_that_came_after_a_slow_start_are_no_hole() -> None:
    found = {**view("aborted", requests=8), "created_at": 100.0, "finished_at": 110.0}
    found["measured"]["candidate_bad"] = 0

    assert drill.score(found, drills.fault(Name.SLOW_START, {"seconds": 5.0})).held
    early = drill.score(found, drills.fault(Name.SLOW_START, {"seconds": 20.0}))
    assert "8 requests reached a candidate that was not ready." in early.problems
    found["measured"]["candidate_bad"] = 2
    assert "2 of 8 requests failed" in drill.score(found, drills.fault(Name.SLOW_START, {"seconds": 5.0})).problems[0]


def test_a_guardrail_that_observes_does_not_end_a_drill_that_another_can_still_catch() -> None:
    found = view(None, verdict="inconclusive", latency=guardrail("fail", 20.0, enforcing=False), cpu=guardrail())

    assert "" == drill.watched_only(found, drills.fault(Name.CPU_BURN))
