"""`softlaunch lock` as the control plane runs it: a real process, a real git server, data that moves."""

from __future__ import annotations

import functools
import http.server
import os
import pathlib
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import git_server

from softlaunch import errors
from softlaunch.adapters.git import mirror
from softlaunch.adapters.local import lock_process
from softlaunch.core import lockfile, pins

YAML = """
service: tips
model: {python: "tips.py:Tips", inputs: {km: FP64}}
reference: URL/rides.csv
environments:
  integration: {branch: develop, strategy: recreate}
"""


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def data(tmp_path):
    """A directory, and its URL."""
    directory = tmp_path / "data"
    directory.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield directory, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "gitconfig").touch()
    (tmp_path / "server").mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    found = git_server.GitServer(tmp_path / "server")
    found.create()
    yield found
    found.close()


@pytest.fixture
def copy(tmp_path, server, data) -> mirror.GitMirror:
    clone = tmp_path / "clone"
    git_server.git(tmp_path, "clone", "-q", str(server.directory / "flights.git"), str(clone))
    git_server.git(clone, "checkout", "-q", "-B", "develop")
    (clone / "softlaunch.yaml").write_text(YAML.replace("URL", data[1]))
    (clone / "tips.py").write_text("class Tips: ...\n")
    git_server.git(clone, "add", "-A")
    git_server.git(clone, "commit", "-q", "-m", "Tips")
    git_server.git(clone, "push", "-q", "origin", "develop")
    return mirror.GitMirror(server.url(), tmp_path / "copy")


def looked(locker: lock_process.LockProcesses, copy: mirror.GitMirror):
    copy.fetch()
    tip = copy.look().branches["develop"]
    return locker.update(copy.checkout(".lock", branch="develop", commit=tip), "develop")


def pinned(copy: mirror.GitMirror) -> str:
    copy.fetch()
    raw = copy.read(copy.look().branches["develop"], lockfile.NAME)
    assert raw is not None
    return lockfile.load_roles(raw)[pins.Role.REFERENCE].sha256


@pytest.mark.slow
def test_data_that_moves_is_committed_once_and_not_again_after_it_was_taken_back(tmp_path, copy, data) -> None:
    locker = lock_process.LockProcesses(home=tmp_path / "home")
    (tmp_path / "home").mkdir(mode=0o700)
    rides = data[0] / "rides.csv"
    rides.write_text("km\n1.0\n")
    first = looked(locker, copy)
    before = pinned(copy)
    rides.write_text("km\n2.0\n")
    os.utime(rides, (1, 1))
    second, third = looked(locker, copy), looked(locker, copy)
    moved = pinned(copy)
    _take_back(tmp_path / "clone")
    fourth = looked(locker, copy)
    rides.write_text("km\n3.0\n")
    os.utime(rides, (2, 2))
    fifth = looked(locker, copy)

    assert first.commit
    assert second.commit
    assert before != moved
    assert ("", "softlaunch.lock of develop is up to date.") == (third.commit, third.text)
    assert "" == fourth.commit
    assert "reference moved; develop keeps what commit" in fourth.text
    assert fifth.commit, "something else is another change"


def _take_back(clone: pathlib.Path) -> None:
    git_server.git(clone, "pull", "-q", "origin", "develop")
    git_server.git(clone, "revert", "--no-edit", "HEAD")
    git_server.git(clone, "push", "-q", "origin", "develop")


def test_what_goes_wrong_is_said_as_the_command_says_it(tmp_path, copy) -> None:
    (tmp_path / "home").mkdir(mode=0o700)

    with pytest.raises(errors.UnavailableError, match=r"rides\.csv"):
        looked(lock_process.LockProcesses(home=tmp_path / "home"), copy)


@pytest.mark.parametrize("how", ["late", "closed"])
def test_what_hangs_is_ended_with_everything_it_started(tmp_path, how) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nsleep 60 &\nwait\n")
    program.chmod(0o755)
    locker = lock_process.LockProcesses(
        home=tmp_path, program=[str(program)], seconds_max=0.3 if how == "late" else 60.0
    )
    if how == "closed":
        threading.Timer(0.3, locker.close).start()

    with pytest.raises(errors.UnavailableError, match="took longer" if how == "late" else "ended with -9"):
        locker.update(tmp_path, "develop")
