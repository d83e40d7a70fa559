"""softlaunch export SYSTEM, as it is typed."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from softlaunch import errors
from softlaunch.cli import ci_export

YAML = """
service: demo
model: {python: "model.py:Predictor", inputs: {x: FP64}}
environments:
  production: {branch: main, strategy: recreate}
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A service in a folder of a repository."""
    found = tmp_path / "services" / "demo"
    found.mkdir(parents=True)
    (found / "softlaunch.yaml").write_text(YAML)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return found


@pytest.mark.parametrize("system", ci_export.EXPORTS)
def test_a_system_s_files_are_written_once_and_named(folder: pathlib.Path, system: str, capsys) -> None:
    ci_export.EXPORTS[system](directory=folder, as_json=True)
    first = json.loads(capsys.readouterr().out)
    ci_export.EXPORTS[system](directory=folder)
    second = capsys.readouterr().out

    assert first["files"]
    assert first["next"]
    for each in first["files"]:
        assert each["written"]
        assert pathlib.Path(each["path"]).is_file()
        assert f"as it was {each['path']}" in second
    assert "Next:" in second


def test_files_are_printed_and_none_is_written(folder: pathlib.Path, capsys) -> None:
    ci_export.export_github(directory=folder, stdout=True)

    assert "# .github/workflows/softlaunch-demo-rollback.yml" in capsys.readouterr().out
    assert not (folder.parents[1] / ".github").exists()


def test_a_changed_file_is_written_over_by_force_alone(folder: pathlib.Path) -> None:
    path = folder / "Jenkinsfile"
    path.write_text("mine")

    with pytest.raises(errors.ConfigError, match="something else already in services/demo/Jenkinsfile"):
        ci_export.export_jenkins(directory=folder)
    ci_export.export_jenkins(directory=folder, force=True)

    assert "pipeline {" in path.read_text()


def test_without_a_service_file_it_says_what_to_do(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        errors.ConfigError, match=r"There is no softlaunch\.yaml in .* Write one with `softlaunch init`"
    ):
        ci_export.export_github(directory=tmp_path)


def test_without_a_repository_it_says_what_to_do(tmp_path: pathlib.Path) -> None:
    (tmp_path / "softlaunch.yaml").write_text(YAML)

    with pytest.raises(errors.ConfigError, match="is in no git repository"):
        ci_export.export_github(directory=tmp_path)
