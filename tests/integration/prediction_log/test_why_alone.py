"""`softlaunch why` where no control plane runs and the registry knows nothing of the release: an imported log."""

from __future__ import annotations

import json

import typer.testing

from softlaunch import errors
from softlaunch.cli import main

RUNNER = typer.testing.CliRunner()
EVENTS = (
    {"type": "org.kubeflow.serving.inference.request", "data": {"instances": [{"x": 1.5}, {"x": 2.5}]}},
    {"type": "org.kubeflow.serving.inference.response", "data": {"predictions": [1, 0]}},
)
COMMON = {
    "specversion": "1.0",
    "id": "r1",
    "source": "s",
    "time": "2026-11-20T10:00:00Z",
    "inferenceservicename": "iris",
}


def run(*words: str, home) -> str:
    done = RUNNER.invoke(main.APP, [*words, "--home", str(home)])
    assert 0 == done.exit_code, done.output
    return done.output


def test_an_imported_answer_is_told_with_what_is_not_known(tmp_path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(COMMON | event) + "\n" for event in EVENTS))
    home = tmp_path / "home"
    run("log", "import", str(events), "--service", "iris", "--format", "kserve", home=home)

    told = run("why", "r1:1", home=home)

    assert "asked: x            2.5" in told
    assert "answer: prediction  0" in told
    assert "! The rollout is not known: nobody answers" in told
    assert "! Where the release came from is not known" in told


def test_a_page_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(COMMON | event) + "\n" for event in EVENTS))
    run("log", "import", str(events), "--service", "iris", "--format", "kserve", home=tmp_path / "home")

    done = RUNNER.invoke(
        main.APP, ["why", "r1:0", "--html", str(tmp_path / "no/page.html"), "--home", str(tmp_path / "home")]
    )

    assert isinstance(done.exception, errors.ConfigError)
    assert done.exception.code is errors.Code.BAD_OPTION
