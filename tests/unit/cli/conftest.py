"""The command line, talking to the API of a simulated machine."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable

import httpx
import pytest
import structlog

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "api"))

import api_machine

from softlaunch.cli import building, client, live, main
from softlaunch.core import release, spec


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> object:
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Types a command as the console script would get it."""

    def typed(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["softlaunch", *words])
        code = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        structlog.reset_defaults()  # commands may send logs to a stream that ends with this test
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return typed


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty home that every command uses, and an empty working directory."""
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("SOFTLAUNCH_HOME", str(found))
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def machine(home: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> api_machine.Machine:
    """A running machine; requests take no network, and waiting lets its time pass."""
    found = api_machine.make(tmp_path / "releases", home)
    address = {"url": "http://control", "token": api_machine.TOKEN, "pid": 7, "instance": "i-1"}
    (home / "control.json").write_text(json.dumps(address))
    real = httpx.Client
    transport = found.client._transport
    monkeypatch.setattr(client.httpx, "Client", lambda **options: real(transport=transport, **options))
    monkeypatch.setattr(client.httpx, "get", lambda url, **_: found.client.get(url.removeprefix("http://control")))
    monkeypatch.setattr(live.time, "sleep", lambda _seconds: found.world.step(5))
    return found


@pytest.fixture
def stable(machine: api_machine.Machine) -> release.Digest:
    """A release that is live."""
    digest = machine.world.release("stable")
    machine.world.end(machine.deploy(digest))
    machine.world.step(40)
    return digest


@pytest.fixture
def running(machine: api_machine.Machine, stable: release.Digest) -> int:
    """The number of a rollout at its first step."""
    number = machine.deploy(machine.world.release("new"))
    machine.world.reach(number, "stepping")
    return number


@pytest.fixture
def built(machine: api_machine.Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what a build makes; real builds take seconds and have tests of their own."""

    def says(digest: release.Digest, *environments: spec.EnvironmentSpec) -> None:
        service = spec.ServiceSpec(
            service="demo",
            model=spec.ModelSpec(source=spec.ModelSource.PATH, path="model.onnx"),
            environments=environments or (machine.environment,),
        )
        result = building.Built(digest=digest, commit="c" * 40, spec=service, document={"release": digest.value})
        monkeypatch.setattr(building, "build_release", lambda *_args, **_options: result)

    return says
