"""What `replay` and `compare` refuse before anything is started; tests/e2e sends real requests."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rate", "fast"), "no speed"),
        (("--rate", "0x"), "no speed"),
        (("--since", "1h", "--until", "2h"), "not before"),
        (("--since", "2026-13-01"), "no time"),
        (("--labels", "nowhere.csv"), "cannot be read"),
        ((), "called 'x'"),
    ],
)
def test_what_cannot_be_replayed_is_refused(run, stable, options, said) -> None:
    result = run("replay", "demo", "--candidate", "x", *options)

    assert 2 == result.code
    assert said in " ".join(result.err.split())


def test_without_a_control_plane_and_a_file_there_is_nothing_to_replay(run, home) -> None:
    assert 4 == run("replay", "--candidate", "x").code


def test_a_file_with_many_environments_wants_one_named(run, home) -> None:
    (home.parent / "softlaunch.yaml").write_text("service: demo\nmodel: model.onnx\nenvironments: [one, two]\n")

    result = run("replay", "--candidate", "x")

    assert 2 == result.code
    assert "one, two" in " ".join(result.err.split())


def test_a_rollout_without_a_shadow_has_nothing_to_compare(run, running) -> None:
    result = run("compare", str(running), "--json")

    assert (2, "no-shadow") == (result.code, result.document["code"])
