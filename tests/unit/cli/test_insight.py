"""Why, and what next: on the command line."""

from __future__ import annotations

import json

import pytest

from softlaunch.testing import virtual_traffic
from softlaunch.wiring import recordings

BAD = virtual_traffic.Behaviour(error_rate=0.5)
SERVICE = """\
service: demo
model: model.onnx
environments:
  integration: {verify: smoke}
  production: {after: integration, strategy: {canary: {steps: [5%, 25%, 100%]}}}
"""


@pytest.fixture
def taken_back(machine, stable, built, run, monkeypatch) -> int:
    """The number of a rollout that was taken back; its archive is the simulator's."""
    built(machine.world.release("bad", BAD))
    number = run("deploy", "--wait", "ended", "--json").document["id"]
    monkeypatch.setattr(recordings, "evidence", lambda _home: machine.world.archive)
    return number


def test_rejudge_agrees_and_exits_0(run, taken_back) -> None:
    result = run("rejudge")

    assert result.code == 0, result.out + result.err
    assert f"Rollout {taken_back}: judged " in result.out
    assert "Verdict: fail. errors: " in result.out
    assert "Every report, number and state is what was stored, to the last bit." in result.out


def test_rejudge_names_the_first_difference_and_exits_1(run, machine, taken_back) -> None:
    record = machine.world.store.rollout(taken_back)
    record.measured["report"]["guardrails"]["errors"]["candidate_events"] += 1

    result = run("rejudge", str(taken_back))
    document = run("rejudge", str(taken_back), "--json")

    assert (result.code, document.code) == (1, 1)
    assert "DIFFERENT: report.guardrails.errors.candidate_events: stored " in result.out
    assert document.document["agrees"] is False


def test_rejudge_of_a_rollout_that_is_none_says_so(run, machine, stable) -> None:
    result = run("rejudge", "99", "--json")

    assert (result.code, result.document["code"]) == (2, "no-rollout")


def test_explain_names_the_pin_and_how_to_lift_it(run, taken_back) -> None:
    assert "lift it with `softlaunch unpin " in run("explain", str(taken_back)).out


def test_explain_writes_a_page_that_holds_the_curves(run, taken_back, tmp_path) -> None:
    page = tmp_path / "report.html"
    result = run("explain", str(taken_back), "--html", str(page))

    assert result.code == 0, result.out + result.err
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<svg" in text
    assert "Rolled back" in text


def test_a_page_that_cannot_be_written_is_the_caller_s_mistake(run, taken_back) -> None:
    result = run("explain", str(taken_back), "--html", "/nowhere/report.html", "--json")

    assert (result.code, result.document["code"]) == (2, "bad-option")


def test_next_needs_no_control_plane(run, home, tmp_path) -> None:
    (tmp_path / "softlaunch.yaml").write_text(SERVICE)
    result = run("next", "--requests-per-day", "200")

    assert result.code == 0, result.out + result.err
    assert "demo in production: 200 requests a day, 0 launches, 0 taken back." in result.out
    assert "Next: launch once with `softlaunch deploy`" in result.out
    assert len(result.out.splitlines()) <= 25


def test_next_takes_traffic_and_history_from_past_rollouts(run, taken_back, tmp_path, monkeypatch) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "softlaunch.yaml").write_text(SERVICE)
    found = run("next", "--dir", str(tmp_path / "service"), "--json").document

    assert found["requests_per_day"] == pytest.approx(400 * 86_400, rel=0.3)
    assert 5 == len(found["scores"])
    assert json.dumps(found)


def test_next_of_an_unknown_environment_names_those_there_are(run, home, tmp_path) -> None:
    (tmp_path / "softlaunch.yaml").write_text(SERVICE)
    result = run("next", "--env", "moon")

    assert result.code == 2
    assert "integration, production" in result.err
