"""What everything that runs pipelines keeps to."""

from __future__ import annotations

import pathlib
import sys
import time

import pytest

from softlaunch import errors
from softlaunch.adapters.local import ship_process
from softlaunch.ports import shipper
from softlaunch.testing import shipper as memory

DIGEST = f"sha256:{'a' * 64}"
SHIP = """
import json, pathlib, sys, time
ship, commit, _, environment, _, by, _, directory, _, home, form = sys.argv[1:]
assert (ship, by, form) == ("ship", "git", "--json"), sys.argv
while not (pathlib.Path(home) / f"{environment}.exit").exists():
    time.sleep(0.01)
code = int((pathlib.Path(home) / f"{environment}.exit").read_text())
print("a word on the way", file=sys.stderr)
if code < 90:
    print(json.dumps({"release": "DIGEST", "text": f"shipped {commit} of {pathlib.Path(directory).name}"}))
sys.exit(code if code < 100 else code - 100)  # 101: as a program that cannot be imported
""".replace("DIGEST", DIGEST)


class Processes:
    def __init__(self, directory: pathlib.Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        (directory / "ship.py").write_text(SHIP)
        self.port = ship_process.ShipProcesses(
            home=self.home, logs_directory=directory / "logs", program=[sys.executable, str(directory / "ship.py")]
        )

    def end(self, environment: str, code: int) -> None:
        fresh = self.home / f"{environment}.new"
        fresh.write_text(str(code))
        fresh.rename(self.home / f"{environment}.exit")


class Memory:
    def __init__(self, directory: pathlib.Path) -> None:
        self._codes: dict[str, int] = {}
        self.port = memory.MemoryShipper(self._pipeline)

    def end(self, environment: str, code: int) -> None:
        self._codes[environment] = code

    def _pipeline(self, order):
        def result():
            code = self._codes.get(order.environment)
            text = f"shipped {order.commit} of {order.checkout.name}"
            return code if code is None else shipper.Shipped(order=order, exit_code=code, release=DIGEST, text=text)

        return result


@pytest.fixture(params=[Processes, Memory], ids=["processes", "memory"])
def pipelines(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.port.close()


def order(environment: str = "production", commit: str = "1" * 40) -> shipper.Order:
    return shipper.Order(service="demo", environment=environment, commit=commit, checkout=pathlib.Path("folder"))


def wait(port: shipper.Shipper, seconds: float = 20.0) -> list[shipper.Shipped]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = list(port.ended())
        if found:
            return found
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_an_end_is_told_once_with_its_code(pipelines, code) -> None:
    pipelines.port.start(order())
    assert () == tuple(pipelines.port.ended())

    pipelines.end("production", code)

    expected = shipper.Shipped(order=order(), exit_code=code, release=DIGEST, text=f"shipped {'1' * 40} of folder")
    assert [expected] == wait(pipelines.port)
    assert () == tuple(pipelines.port.ended())


def test_there_is_one_at_a_time_for_an_environment(pipelines) -> None:
    pipelines.port.start(order())

    with pytest.raises(errors.ConflictError):
        pipelines.port.start(order(commit="2" * 40))
    pipelines.port.start(order("integration"))

    pipelines.end("integration", 0)
    assert ["integration"] == [found.order.environment for found in wait(pipelines.port)]


def test_after_its_end_the_next_may_start(pipelines) -> None:
    pipelines.port.start(order())
    pipelines.end("production", 1)
    wait(pipelines.port)

    pipelines.port.start(order(commit="2" * 40))

    assert "2" * 40 == wait(pipelines.port)[0].order.commit


def test_what_is_closed_is_not_told(pipelines) -> None:
    pipelines.port.start(order())

    pipelines.port.close()

    assert () == tuple(pipelines.port.ended())


@pytest.mark.parametrize("code", [99, 101, 102])
def test_a_pipeline_that_dies_without_a_word_is_one_to_be_tried_again(tmp_path, code) -> None:
    made = Processes(tmp_path)
    made.port.start(order())
    made.end("production", code)

    (found,) = wait(made.port)

    assert (4, "") == (found.exit_code, found.release)
    assert "demo.production.log" in found.text
    assert "a word on the way" in (tmp_path / "logs" / "demo.production.log").read_text()


def test_what_cannot_be_started_is_said(tmp_path) -> None:
    port = ship_process.ShipProcesses(home=tmp_path, logs_directory=tmp_path, program=[str(tmp_path / "none")])

    with pytest.raises(errors.UnavailableError):
        port.start(order())
    port.close()
