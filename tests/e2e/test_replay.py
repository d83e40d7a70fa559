"""Replays and comparisons with a real gateway, real model servers and what they recorded."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import time
from collections.abc import Iterator

import lab
import process_lab
import pytest

from softlaunch.adapters.oci import registry
from softlaunch.adapters.spool import local
from softlaunch.core import release, spec, spool
from softlaunch.testing import releases

pytestmark = pytest.mark.slow
LINEAGE = release.Lineage(
    commit="a" * 40,
    branch="main",
    tags=(),
    author="lab",
    committed_at="2026-01-01T00:00:00Z",
    built_at="2026-01-01T00:01:00Z",
    tests="none",
)
OTHER = releases.faulty('return [{"label": 0, "probability": 0.123} for _ in rows]')
BROKEN = releases.faulty('raise ValueError("planted")')
GUARDRAILS = (*spec.GUARDRAILS_DEFAULT, spec.GuardrailName.DISAGREEMENT)
ALL = spec.StepSpec(weight=spec.WEIGHT_FULL)


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    """A service that has answered some hundred requests."""
    with process_lab.laboratory() as found:
        environment = lab.strategy(acceptable_percent=5.0, guardrails=GUARDRAILS)
        assert found.deploy(found.make("live"), environment)["outcome"] == "promoted"
        with lab.load(found.port, 100.0) as seen:
            time.sleep(5.0)
        assert seen["failed"] == 0
        yield found


def recorded(machine: process_lab.ProcessLab) -> list[spool.Record]:
    found = local.LocalSpool(machine.home.spool).scan(lab.SERVICE, lab.ENVIRONMENT, since=0.0, until=time.time())
    return [record for record in found if record.arm == spool.PRIMARY]


def replayed(machine: process_lab.ProcessLab, candidate: str, *more: str) -> process_lab.Answered:
    return machine.command("replay", lab.SERVICE, "--candidate", candidate, "--since", "1h", *more)


def labels(path: pathlib.Path, truth: dict[str, int]) -> str:
    path.write_text("prediction_id,label\n" + "".join(f"{name},{label}\n" for name, label in truth.items()))
    return str(path)


def test_an_equal_release_passes_on_recorded_requests_and_nothing_of_it_is_left(machine) -> None:
    equal = machine.make("equal")

    done = replayed(machine, equal.short)

    assert 0 == done.code, done.out + done.err
    found = done.document
    assert ("pass", equal.short, 1.0) == (found["verdict"], found["candidate"], found["pairs"]["agreement_rate"])
    assert found["sent_count"] == found["pairs"]["pair_count"] >= 400
    assert found["seconds"] < found["recorded_seconds"]
    assert [] == [line for line in machine.processes().values() if equal.value.removeprefix("sha256:") in line]


def test_a_release_that_answers_otherwise_fails_and_labels_say_who_was_right(machine, tmp_path) -> None:
    asked = [record.request_id for record in recorded(machine)][:80]
    truth = {name: int(number >= 60) for number, name in enumerate(asked)} | {"never-asked": 1}
    done = replayed(machine, machine.make("other", OTHER).value, "--labels", labels(tmp_path / "truth.csv", truth))

    assert 1 == done.code, done.out + done.err
    found = done.document
    assert "fail" == found["verdict"]
    assert found["reason"].startswith("disagreement")
    assert 0.0 == found["pairs"]["agreement_rate"]
    assert "stable" in found["pairs"]["examples"][0]
    judged = found["labels"]
    assert (81, 1) == (judged["label_count"], judged["missing_count"])
    assert (20, 60) == (judged["stable_count"], judged["candidate_count"])
    assert judged["counts_p"] < 0.001


def test_a_release_that_fails_is_failed_and_the_text_says_so(machine) -> None:
    done = replayed(machine, machine.make("broken", BROKEN).value)

    assert (1, "fail") == (done.code, done.document["verdict"]), done.out + done.err
    assert done.document["reason"].startswith("errors")
    assert done.document["pairs"]["outcomes"]["error"][0] == 0


def test_too_few_recordings_are_neither_a_yes_nor_a_no(machine) -> None:
    first = recorded(machine)[0].at

    def words(seconds: float) -> str:
        return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).isoformat()

    done = machine.command(
        "replay", "--candidate", machine.make("few").value, "--since", words(first), "--until", words(first + 0.2)
    )

    assert (5, "inconclusive") == (done.code, done.document["verdict"]), done.out + done.err


def test_without_recordings_a_replay_says_why_there_is_none(machine) -> None:
    done = machine.command(
        "replay", "--candidate", machine.make("late").value, "--since", "2000-01-01", "--until", "9000d"
    )

    assert (2, "no-recording") == (done.code, done.document["code"])


def test_labels_say_which_of_a_shadow_s_two_answers_was_right(machine, tmp_path) -> None:
    shadow = spec.StepSpec(kind=spec.StepKind.SHADOW, weight=10_000, attempts_min=100)
    environment = lab.strategy(steps=(shadow, ALL), acceptable_percent=5.0, holdback_percent=0.0)
    with lab.load(machine.port, 80.0):
        view = machine.deploy(machine.make("shadowed", OTHER), environment)
    assert "promoted" == view["outcome"], view["reason"]
    copied = [record.request_id for record in recorded(machine) if record.mirrored][:60]
    truth = {f"{name}:0": int(number % 4 == 0) for number, name in enumerate(copied)} | {"gone": 1, f"{copied[0]}:7": 1}

    done = machine.command("compare", str(view["id"]), "--labels", labels(tmp_path / "truth.csv", truth))

    assert 0 == done.code, done.out + done.err
    found = done.document
    assert 0.0 == found["pairs"]["agreement_rate"]
    judged = found["labels"]
    assert (62, 2, "classes") == (judged["label_count"], judged["missing_count"], judged["kind"])
    assert (15, 45) == (judged["stable_count"], judged["candidate_count"])
    assert judged["counts_p"] < 0.001


def test_a_rollout_without_a_shadow_has_nothing_to_compare(machine) -> None:
    done = machine.command("compare", "1")

    assert (2, "no-shadow") == (done.code, done.document["code"])


def test_the_newest_build_is_replayed_by_itself_and_the_history_says_what_came_of_it(machine) -> None:
    newest = machine.make("nightly", BROKEN)
    registry.OciRegistry(machine.home.registry).attach(newest, LINEAGE)
    again = lab.strategy(
        around={"replay": spec.ReplaySpec(every_seconds=1.0, since_seconds=3_600.0, rate=20.0)}, acceptable_percent=5.0
    )
    live = release.Digest(machine.client.get("/v1/status")["services"][0]["stable"])
    machine.client.post("/v1/rollouts", process_lab.body(live, again))  # the same release: only what is around it

    until = time.monotonic() + 60.0
    found: list[str] = []
    while not found and time.monotonic() < until:
        time.sleep(0.2)
        events = machine.client.get("/v1/events", limit=10_000)
        found = [event["text"] for event in events if event["kind"] == "replayed"]

    assert found[0].startswith(f"Replay of {newest.short} failed (nothing is pinned)"), found
    assert [] == machine.client.get(f"/v1/services/{lab.SERVICE}/{lab.ENVIRONMENT}/pins")
    time.sleep(3.0)
    events = machine.client.get("/v1/events", limit=10_000)
    assert 1 == sum(event["kind"] == "replayed" for event in events)


def test_a_killed_control_plane_takes_its_replay_with_it(machine) -> None:
    slow = machine.make("never-ready", "import time; time.sleep(60)" + releases.GOOD)
    registry.OciRegistry(machine.home.registry).attach(slow, dataclasses.replace(LINEAGE, commit="b" * 40))

    def running() -> list[int]:
        return [pid for pid, line in machine.processes().items() if slow.value.removeprefix("sha256:") in line]

    until = time.monotonic() + 30.0
    while len(running()) < 2 and time.monotonic() < until:  # the replay, and a replica of its candidate
        time.sleep(0.1)
    assert len(running()) >= 2
    machine.kill_control_plane()

    until = time.monotonic() + 30.0
    while running() and time.monotonic() < until:
        time.sleep(0.1)
    assert [] == running()
    machine.up()


def test_without_a_control_plane_the_file_says_the_rules_and_the_recordings_who_was_stable(machine) -> None:
    machine.down()
    strategy = {"canary": {"steps": ["10%", "100%"], "acceptable": "5%"}}
    around = {
        "service": lab.SERVICE,
        "model": "model.joblib",
        "environments": {lab.ENVIRONMENT: {"strategy": strategy}},
    }
    (machine.directory / "softlaunch.yaml").write_text(json.dumps(around))

    done = machine.command("replay", "--candidate", machine.make("without").value, "--since", "1h", "--rate", "20x")

    assert (0, "pass") == (done.code, done.document["verdict"]), done.out + done.err
