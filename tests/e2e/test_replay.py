"""Replays and comparisons with a real gateway, real model servers and what they recorded."""

from __future__ import annotations

import datetime
import json
import pathlib
import time
from collections.abc import Iterator

import lab
import process_lab
import pytest

from softlaunch.adapters.spool import local
from softlaunch.core import spec, spool
from softlaunch.testing import releases

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
    assert judged["label_count"] == 81
    assert 1 <= judged["missing_count"] < 81  # it failed before everything was sent
    assert judged["candidate_count"] > judged["stable_count"]


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
