"""`softlaunch lineage` and `softlaunch diff` of releases in a real home, without a control plane."""

from __future__ import annotations

import hashlib
import json
import pathlib

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import registry
from softlaunch.controller import training
from softlaunch.controller.pipeline import run_record
from softlaunch.core import release, training_record
from softlaunch.testing import releases
from softlaunch.wiring import comparing


@pytest.fixture
def kept(home: pathlib.Path, tmp_path: pathlib.Path) -> tuple[release.Digest, release.Digest]:
    """Two releases with their lineage: v1, and main."""
    home.chmod(0o700)
    found = registry.OciRegistry(home / "registry")
    first, second = (
        found.push(releases.write(tmp_path / name, name=name, source=source))
        for name, source in (("one", releases.GOOD), ("two", releases.faulty("raise ValueError")))
    )
    for digest, letter, tags in ((first, "a", ("v1",)), (second, "b", ())):
        lineage = release.Lineage(
            commit=letter * 40,
            branch="main",
            tags=tags,
            author="ann",
            committed_at="2026-01-01T00:00:00Z",
            built_at="2026-01-01T00:00:00Z",
            tests="12 passed",
        )
        found.attach(digest, lineage)
    return first, second


def test_everything_but_what_runs_now_is_told_without_a_control_plane(run, home, kept) -> None:
    shown = run("lineage", "v1")
    document = run("lineage", "v1", "--json").document

    assert (0, 1) == (shown.code, len(shown.err.splitlines()))
    assert "nobody answers" in shown.err
    assert "`softlaunch up`" in shown.err
    assert "commit aaaaaaaaaaaa  main, v1, by ann" in shown.out
    assert "? unsigned" in shown.out
    assert len(shown.out.splitlines()) < 24
    assert (False, kept[0].value) == (document["live_known"], document["release"])
    assert {"release", "code", "model", "tests"} == {node["kind"] for node in document["nodes"]}


def test_an_address_where_nobody_answers_any_more_is_named(run, home, kept) -> None:
    address = {"url": "http://127.0.0.1:9", "token": "t", "pid": 1, "instance": "i"}
    (home / "control.json").write_text(json.dumps(address))

    assert "nobody answers at http://127.0.0.1:9" in run("lineage", "main").err


def test_a_pipeline_that_shipped_the_release_is_told(run, home, kept) -> None:
    record = run_record.RunRecord(
        run=0,
        service=releases.SERVICE,
        environment="production",
        commit="a" * 40,
        ref="v1",
        by="ann",
        started_at=0.0,
        release=kept[0].value,
        outcome="promoted",
    )
    run_record.Runs(home / "pipelines").begin(record)

    assert "run 1 to production  v1 by ann, 1970-01-01 00:00Z: promoted" in run("lineage", "v1").out
    assert "pipeline" not in run("lineage", "main").out


def test_the_run_that_made_the_model_is_told_with_its_metrics_and_where_mlflow_has_it(run, home, tmp_path) -> None:
    directory = releases.write(tmp_path / "trained", name="trained")
    (directory / "model").mkdir()
    (directory / "model" / "model.bin").write_bytes(b"weights")
    digest = registry.OciRegistry(home / "registry").push(directory)
    home.chmod(0o700)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    record = training_record.TrainingRecord(
        run="mlflow-0a1b",
        command=(),
        directory="",
        source="mlflow http://tracking",
        started_at=0.0,
        outcome=training_record.Outcome.SUCCEEDED,
        metrics=(training_record.MetricSummary(name="loss", last=0.25),),
        files=(training_record.ProducedFile(path="model.bin", sha256=sha256, bytes=7),),
    )
    training.Records(home / "training").write(record)
    shown = run("lineage", digest.short)
    document = run("lineage", digest.value, "--json").document

    assert "run mlflow-0a1b  of mlflow http://tracking, succeeded, 1970-01-01 00:00Z, loss 0.25" in shown.out
    assert f"model/model.bin  sha256 {sha256[:12]}, 7 bytes" in shown.out
    assert {"from": "training:mlflow-0a1b", "to": digest.value, "kind": "trained"} in document["edges"]
    assert "Nobody says which commit it was built of." in shown.out


def test_a_signed_report_is_told_with_its_key_and_without_that_key_as_refused(run, home, kept, tmp_path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text("<testsuite/>")
    assert 0 == run("key", "new", "--name", "ci").code
    assert 0 == run("attest", "v1", "--junit", str(report)).code
    signed = run("lineage", "v1")
    (home / "keys" / "ci.pub").unlink()
    (home / "keys" / "ci.key").unlink()
    stranger = run("lineage", "v1")

    sha256 = hashlib.sha256(b"<testsuite/>").hexdigest()
    assert f"passed  junit {sha256[:12]}  ✓ signed by ci" in signed.out
    assert "No provenance is signed" in signed.out
    assert "✗ refused: its key" in stranger.out


def test_the_graph_has_three_forms_and_one_of_them_at_once(run, kept) -> None:
    assert run("lineage", "v1", "--dot").out.startswith("digraph lineage {")
    assert run("lineage", "v1", "--mermaid").out.startswith("flowchart LR")
    assert (2, "bad-option") == (run("lineage", "v1", "--dot", "--json").code, refused(run, "v1", "--dot", "--mermaid"))


def refused(run, *words: str) -> str:
    return "bad-option" if "bad-option" in run("lineage", *words).err else ""


@pytest.mark.parametrize("command", [["lineage", "nothing"], ["diff", "v1", "nothing"]])
def test_a_release_that_is_not_there_is_an_error(run, kept, command) -> None:
    result = run(*command)

    assert 2 == result.code
    assert "There is no release 'nothing'" in result.err


def test_a_difference_is_told_and_exits_0_unless_it_is_asked_for(run, kept) -> None:
    shown = run("diff", "v1", "main")
    patch = run("diff", "v1", "main", "--patch")
    document = run("diff", "v1", "main", "--json", "--exit-code")

    assert (0, 1) == (shown.code, document.code)
    assert "model.py  +4 -1" in shown.out
    assert "the same: packages, model, signature, gates, reference, runtime, other files" in shown.out
    assert "Data is not compared" in shown.out
    assert "-# one" not in shown.out
    assert "-# one" in patch.out
    assert (True, "model.py") == (document.document["differs"], document.document["code"][0]["path"])


def test_a_release_and_itself_are_one_sentence(run, kept) -> None:
    result = run("diff", "v1", kept[0].value, "--exit-code")

    assert (0, f"Both are release {kept[0].short}: nothing is different.\n") == (result.code, result.out)


@pytest.mark.parametrize("words", [["v1"], [], ["v1", "main", "--env", "production"]])
def test_what_is_to_be_compared_has_to_be_clear(run, kept, words) -> None:
    result = run("diff", *words)

    assert 2 == result.code
    assert "It is not clear what is to be compared" in result.err


@pytest.mark.parametrize(
    ("stable", "previous", "candidate", "expected"),
    [
        ("b", "a", "c", ("b", "c")),
        ("b", "a", None, ("a", "b")),
        ("b", "a", "b", ("a", "b")),
        ("b", None, "c", ("b", "c")),
    ],
)
def test_of_a_place_live_is_compared_with_the_candidate_or_with_what_was_live(
    stable, previous, candidate, expected
) -> None:
    rollout = {"candidate": candidate} if candidate is not None else None
    place = {"service": "demo", "environment": "production", "stable": stable, "previous": previous, "rollout": rollout}

    assert expected == comparing.pick(place)


@pytest.mark.parametrize(("stable", "candidate"), [(None, None), ("b", None), (None, "c")])
def test_a_place_with_one_release_has_nothing_to_compare(stable, candidate) -> None:
    rollout = {"candidate": candidate} if candidate is not None else None
    place = {"service": "demo", "environment": "production", "stable": stable, "previous": None, "rollout": rollout}

    with pytest.raises(errors.ConfigError, match="no two releases of demo in production"):
        comparing.pick(place)
