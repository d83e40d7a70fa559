from __future__ import annotations

import json

import pytest
from typer import testing

from softlaunch import errors
from softlaunch.cli import main
from softlaunch.core import lockfile, pins

YAML = "service: s\nmodel: model.joblib\nreference: data.csv\nenvironments: [production]\n"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "service"
    found.mkdir()
    (found / "softlaunch.yaml").write_text(YAML)
    (found / "model.joblib").write_bytes(b"model")
    (found / "data.csv").write_bytes(b"a,b\n1,2\n")
    return found


def lock(folder, *arguments):
    return testing.CliRunner().invoke(
        main.APP, ["lock", *arguments, "--dir", str(folder), "--home", str(folder.parent / "home")]
    )


def test_check_is_one_until_the_lock_is_written_and_again_when_a_file_changes(folder) -> None:
    assert lock(folder, "--check").exit_code == 1
    assert not (folder / lockfile.NAME).exists()
    assert lock(folder).exit_code == 0
    assert {pins.Role.MODEL, pins.Role.REFERENCE} == set(lockfile.load_roles((folder / lockfile.NAME).read_bytes()))
    assert lock(folder, "--check").exit_code == 0

    (folder / "data.csv").write_bytes(b"a,b\n1,3\n")
    found = lock(folder, "--check", "--json")
    assert found.exit_code == 1
    assert ["reference"] == [change["role"] for change in json.loads(found.stdout)["stale"]]
    assert lock(folder, "--update").exit_code == 0
    assert lock(folder, "--check").exit_code == 0


def test_a_pin_of_what_is_named_no_more_is_stale(folder) -> None:
    lock(folder)
    (folder / "softlaunch.yaml").write_text(YAML.replace("reference: data.csv\n", ""))

    assert "nothing names it any more" in lock(folder, "--check").stdout
    lock(folder)
    assert {pins.Role.MODEL} == set(lockfile.load_roles((folder / lockfile.NAME).read_bytes()))


@pytest.mark.parametrize(
    "arguments",
    [("--check", "--update"), ("--commit",), ("--branch", "develop"), ("--push", "--update"), ("--check", "--commit")],
)
def test_options_that_do_not_go_together_are_refused(folder, arguments) -> None:
    found = lock(folder, *arguments)

    assert isinstance(found.exception, errors.ConfigError)
    assert found.exception.code is errors.Code.BAD_OPTION
    assert not (folder / lockfile.NAME).exists()
