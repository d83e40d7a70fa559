"""The API in front of a simulated machine."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import api_machine

from softlaunch.core import release


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> api_machine.Machine:
    return api_machine.make(tmp_path)


@pytest.fixture
def live(machine: api_machine.Machine) -> release.Digest:
    """A release that is live."""
    digest = machine.world.release("live")
    machine.world.end(machine.deploy(digest))
    machine.world.step(40)
    return digest


@pytest.fixture
def running(machine: api_machine.Machine, live: release.Digest) -> Callable[[], int]:
    """The number of a rollout at its first step."""
    number = machine.deploy(machine.world.release("new"))
    machine.world.reach(number, "stepping")
    return lambda: number
