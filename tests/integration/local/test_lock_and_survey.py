"""The home's lock between processes, and the survey of this very machine."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import local_stages

from softlaunch import errors
from softlaunch.adapters.local import lock, rundir, survey

HOLD = """
import pathlib, sys, threading
from softlaunch.adapters.local import lock
with lock.HomeLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    threading.Event().wait()
"""


def test_a_lock_is_refused_while_its_holder_lives_and_taken_over_after_kill_9(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(errors.ConflictError, match=rf"process {holder.pid}\b"):
            lock.HomeLock(tmp_path).acquire()
        held_by = lock.holder(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        assert held_by == holder.pid
        with lock.HomeLock(tmp_path):
            assert lock.holder(tmp_path) == os.getpid()


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: pathlib.Path) -> None:
    with lock.HomeLock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)

    local_stages.wait_for(
        lambda: lock.holder(tmp_path) is None
    )  # not at once: the kernel closes files a moment after exec
    child.kill()
    child.wait()


def test_this_machine_is_surveyed_and_a_taken_port_named(tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        checks = survey.examine(
            home=tmp_path / "home", run_dir=rundir.path_for(tmp_path), ports={number: "production's listener"}
        )

    found = {check.name: check for check in checks}
    assert found[f"port {number}"].state == "problem"
    assert str(os.getpid()) in found[f"port {number}"].detail
    assert found["Envoy"].state == "ok"
    assert found["Python"].state == "ok"
    assert found["uv"].state == "ok"
    assert not (tmp_path / "home").exists()


def test_a_port_of_the_control_plane_that_holds_the_home_is_its_own(tmp_path: pathlib.Path) -> None:
    with lock.HomeLock(tmp_path), socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        checks = survey.examine(home=tmp_path, run_dir=rundir.path_for(tmp_path), ports={number: "API"})

    assert "held by this softlaunch" in next(check.detail for check in checks if check.name == f"port {number}")


def test_a_free_port_is_free(tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    checks = survey.examine(home=tmp_path, run_dir=rundir.path_for(tmp_path), ports={number: "API"})

    assert next(check.state for check in checks if check.name == f"port {number}") == "ok"
