"""The examples of apps and commands are what their pages show."""

from __future__ import annotations

import pathlib

import pytest

from softlaunch.config import service_file

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["fastapi", "command"])
def test_the_example_parses_and_leaves_out_nothing_of_an_app(name: str) -> None:
    found = service_file.load(ROOT / "examples" / "serving" / name / "softlaunch.yaml")

    assert ("/score",) == found.environments[0].predict_paths
    assert not [gap for gap in found.gaps if "model." in gap or "predict_paths" in gap]


@pytest.mark.parametrize(
    ("name", "page"), [("fastapi", "bring-a-fastapi-app.md"), ("command", "bring-any-http-command.md")]
)
def test_the_page_shows_the_examples_model(name: str, page: str) -> None:
    shown = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    written = (ROOT / "examples" / "serving" / name / "softlaunch.yaml").read_text(encoding="utf-8")
    block = written[written.index("model:") : written.index("environments:")]
    (first,) = [line.strip() for line in block.splitlines() if line.strip().startswith(("app:", "command:"))]

    assert first in shown
    assert "predict_paths: [/score]" in shown
