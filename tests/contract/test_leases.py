"""What leases promise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from softlaunch.adapters.local import leases
from softlaunch.testing import streams as memory


@pytest.fixture(params=["files", "memory"])
def pair(request, tmp_path):
    if request.param == "files":
        return leases.FileLeases(tmp_path), leases.FileLeases(tmp_path)
    held: dict[str, object] = {}
    return memory.MemoryLeases(held), memory.MemoryLeases(held)


def test_one_of_two_has_a_lease_until_it_drops_it(pair) -> None:
    first, second = pair

    assert (True, True, False) == (first.take("t/0"), first.take("t/0"), second.take("t/0"))
    assert second.take("t/1")
    second.drop("t/0")
    assert not second.take("t/0")
    first.drop("t/0")
    assert (True, False) == (second.take("t/0"), first.take("t/0"))


def test_a_lease_ends_with_its_process(tmp_path) -> None:
    program = (
        "import os, pathlib, sys; from softlaunch.adapters.local import leases;"
        "assert leases.FileLeases(pathlib.Path(sys.argv[1])).take('t/0'); print('held', flush=True);"
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert b"held\n" == other.stdout.readline()
    mine = leases.FileLeases(tmp_path)
    assert not mine.take("t/0")

    other.kill()
    other.communicate()

    assert mine.take("t/0")
