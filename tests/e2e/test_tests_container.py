"""Test commands in a real container."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import image_lab
import pytest

from softlaunch import errors
from softlaunch.adapters.python_env import workbench
from softlaunch.ports import python_env

MISSING = [name for name in ("podman", "runc") if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
IMAGE = "localhost/softlaunch-system:1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="podman and runc run as root here"),
    pytest.mark.skipif(not image_lab.may_contain(), reason="this machine allows no namespaces, or no cgroups"),
]

PROBE = """
import json, os, pathlib, socket, sys
def refused(deed):
    try:
        deed()
    except OSError:
        return True
    return False
pathlib.Path("seen.json").write_text(json.dumps({
    "caller": "SOFTLAUNCH_TEST_SECRET" in os.environ,
    "asked": os.environ.get("ASKED"),
    "network": not refused(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)),
    "environment": not refused(lambda: pathlib.Path(sys.prefix, "planted").write_text("x")),
    "system": not refused(lambda: pathlib.Path("/etc/planted").write_text("x")),
    "host": pathlib.Path(sys.argv[2]).exists(),
}))
print("looked around")
"""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image of a directory, in a storage of its own; podman takes no path of more than 50 characters."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="sl-pod-"))
    (place / "containers.conf").write_text(
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
    )
    (place / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
    )
    patch = pytest.MonkeyPatch()
    patch.setenv("CONTAINERS_CONF", str(place / "containers.conf"))
    patch.setenv("CONTAINERS_STORAGE_CONF", str(place / "storage.conf"))
    try:
        archive = shutil.make_archive(str(place / "system"), "tar", image_lab.root(place / "root"))
        subprocess.run(["podman", "import", "--quiet", archive, IMAGE], check=True, capture_output=True)
        yield IMAGE
    finally:
        patch.undo()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def bench(tmp_path) -> workbench.LocalWorkbench:
    return workbench.LocalWorkbench(tmp_path)


def run(bench, directory, words, image, *, seconds: float = 60, **limits):
    return bench.command(
        words,
        python=pathlib.Path(sys.executable),
        directory=directory,
        timeout_seconds=seconds,
        variables={"ASKED": "yes"},
        container=python_env.Container(image=image, **limits),
    )


def containers() -> str:
    listed = subprocess.run(["podman", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
    return listed.stdout.strip()


def test_tests_see_the_checkout_and_nothing_else_of_this_machine(bench, image, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOFTLAUNCH_TEST_SECRET", "hunter2")
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.write_text("private")
    (checkout / "probe.py").write_text(PROBE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = run(bench, checkout, f"python probe.py {port} {elsewhere}", image)

    assert (result.exit_code, result.output) == (0, "looked around")
    assert json.loads((checkout / "seen.json").read_text()) == {
        "caller": False, "asked": "yes", "network": False, "environment": False, "system": False, "host": False,
    }  # fmt: skip
    assert containers() == ""


def test_the_exit_code_is_the_command_s(bench, image, tmp_path) -> None:
    assert run(bench, tmp_path, "python -c 'raise SystemExit(3)'", image).exit_code == 3


def test_a_command_that_hangs_leaves_no_container(bench, image, tmp_path) -> None:
    started = time.monotonic()
    result = run(bench, tmp_path, "python -c 'import time; time.sleep(600)'", image, seconds=5)

    assert result.exit_code is None
    assert containers() == ""
    assert time.monotonic() - started < 60


KILLED = """\
import pathlib, sys
from softlaunch.adapters.python_env import workbench
from softlaunch.ports import python_env
here = pathlib.Path(sys.argv[1])
workbench.LocalWorkbench(here).command(
    "python -c 'import pathlib, time; pathlib.Path(\\"began\\").touch(); time.sleep(600)'",
    python=pathlib.Path(sys.executable),
    directory=here,
    timeout_seconds=600,
    variables={},
    container=python_env.Container(image=sys.argv[2]),
)
"""
DEADLINE_SECONDS = 60.0


def killed(tmp_path: pathlib.Path, image: str, *, guard: bool) -> None:
    """A build that dies by kill -9 while its tests run, with or without what watches over its container."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), image], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    assert containers() != ""
    if not guard:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            if b"/bin/sh" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


def test_a_container_does_not_outlive_a_build_that_is_killed(image, tmp_path) -> None:
    killed(tmp_path, image, guard=True)

    deadline = time.monotonic() + DEADLINE_SECONDS
    while containers() != "":
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(bench, image, tmp_path) -> None:
    other = subprocess.run(
        ["podman", "create", "--label", "dev.softlaunch.tests=1", "--name", "somebody-elses", image, "true"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    try:
        killed(tmp_path, image, guard=False)
        assert len(containers().split()) == 2
        assert run(bench, tmp_path, "python -V", image).exit_code == 0
        assert containers() == other[:12]
    finally:
        subprocess.run(["podman", "rm", "--force", other], capture_output=True, check=True)


def test_memory_and_cpus_are_limited(bench, image, tmp_path) -> None:
    look = "python -c 'print(\"got it\", len(bytearray(300 << 20)))'"

    assert "got it" in run(bench, tmp_path, look, image, memory_bytes_max=1 << 30, cpus=0.5).output
    assert run(bench, tmp_path, look, image, memory_bytes_max=64 << 20).exit_code == 137


def test_an_image_that_is_not_there_is_said_to_be_the_trouble(bench, image, tmp_path) -> None:
    with pytest.raises(errors.UnavailableError, match="no-such-image") as caught:
        run(bench, tmp_path, "python -V", "localhost/no-such-image:1")

    assert caught.value.code is errors.Code.TESTS_CONTAINER


def test_neither_podman_nor_docker_is_said_to_be_missing(bench, image, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.UnavailableError, match="needs podman or docker"):
        run(bench, tmp_path, "python -V", image)
