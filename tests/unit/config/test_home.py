from __future__ import annotations

import os
import pathlib
import stat

import pytest

from softlaunch import errors
from softlaunch.config import home


def _home(tmp_path: pathlib.Path) -> home.Home:
    run_root = tmp_path / "run"
    run_root.mkdir()
    return home.Home(tmp_path / "home", run_root=run_root)


def test_the_option_has_precedence_over_the_variable_and_the_variable_over_the_default(tmp_path: pathlib.Path) -> None:
    variables = {"SOFTLAUNCH_HOME": str(tmp_path / "variable")}

    assert home.Home.locate(tmp_path / "option", variables).root == tmp_path / "option"
    assert home.Home.locate(None, variables).root == tmp_path / "variable"
    assert home.Home.locate(None, {}).root == pathlib.Path("~/.softlaunch").expanduser().resolve()


@pytest.mark.parametrize("text", ["", "  ", "a\x00b", "~nobody-of-that-name/x"])
def test_a_path_that_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="SOFTLAUNCH_HOME"):
        home.Home.locate(None, {"SOFTLAUNCH_HOME": text})


def test_one_directory_has_one_run_directory_whatever_it_is_called(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert home.Home.locate(tmp_path / "real", {}).run == home.Home.locate(tmp_path / "link" / "." / "x" / "..", {}).run
    assert home.Home.locate(tmp_path / "real", {}).run != home.Home.locate(tmp_path / "other", {}).run


def test_the_run_directory_stays_short_however_long_the_home_is() -> None:
    run = home.Home(pathlib.Path("/" + "x" * 3_000)).run

    assert len(str(run)) < 40
    assert run.name.startswith(f"sl-{os.geteuid()}-")


def test_the_run_directory_is_the_one_the_fleet_uses(tmp_path: pathlib.Path) -> None:
    rundir = pytest.importorskip("softlaunch.adapters.local.rundir")

    assert rundir.path_for(tmp_path) == home.Home.locate(tmp_path, {}).run


def test_everything_is_created_for_its_owner_alone_and_twice_is_once(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)

    found.prepare()
    found.prepare()

    directories = (
        found.root,
        found.registry,
        found.releases,
        found.venvs,
        found.cache,
        found.gateway,
        found.logs,
        found.run,
    )
    assert {0o700} == {stat.S_IMODE(directory.stat().st_mode) for directory in directories}
    assert {found.lock_file.parent, found.control_file.parent, found.state_file.parent} == {found.root}


def test_a_wide_umask_does_not_open_it(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        found = _home(tmp_path)
        found.prepare()
    finally:
        os.umask(before)

    assert stat.S_IMODE(found.run.stat().st_mode) == 0o700


def test_a_link_put_in_place_of_the_run_directory_is_not_followed(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o700)
    found.run.symlink_to(trap)

    with pytest.raises(errors.ConfigError, match="symbolic link"):
        found.prepare()
    assert list(trap.iterdir()) == []


def test_a_dangling_link_is_not_followed_either(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    found.run.symlink_to(tmp_path / "nowhere")

    with pytest.raises(errors.ConfigError, match="symbolic link"):
        found.prepare()
    assert not (tmp_path / "nowhere").exists()


def test_a_run_directory_others_can_enter_is_refused_and_left_as_it_is(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    found.run.mkdir(mode=0o755)
    found.run.chmod(0o755)

    with pytest.raises(errors.ConfigError, match="mode 0755"):
        found.prepare()
    assert stat.S_IMODE(found.run.stat().st_mode) == 0o755


def test_a_home_others_can_write_to_is_refused(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    found.root.mkdir()
    found.root.chmod(0o777)

    with pytest.raises(errors.ConfigError, match="chmod 700"):
        found.prepare()


def test_a_home_others_may_read_is_used(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    found.root.mkdir()
    found.root.chmod(0o755)

    found.prepare()

    assert stat.S_IMODE(found.root.stat().st_mode) == 0o755


def test_a_directory_of_somebody_else_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _home(tmp_path)
    found.prepare()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(errors.ConfigError, match=f"belongs to user {owner}"):
        found.prepare()


def test_a_file_in_place_of_the_home_is_refused(tmp_path: pathlib.Path) -> None:
    found = _home(tmp_path)
    found.root.write_text("mine")

    with pytest.raises(errors.ConfigError, match="no directory"):
        found.prepare()
    assert found.root.read_text() == "mine"


def test_a_file_above_the_home_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(errors.ConfigError, match="file"):
        home.Home(tmp_path / "file" / "home", run_root=tmp_path).prepare()


def test_a_home_that_cannot_be_created_is_a_neighbours_fault(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UnavailableError, match="cannot be created"):
        home.Home(pathlib.Path("/proc/softlaunch"), run_root=tmp_path).prepare()
