"""Examples of examples/serving as somebody brings them: copied into repositories of their own, built and launched."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import flights_lab
import httpx
import process_lab

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "serving"
BUILD_SECONDS_MAX = 300.0


@dataclasses.dataclass(kw_only=True)
class Service:
    """An example in a repository of its own."""

    machine: process_lab.ProcessLab
    name: str
    python: str | None = None
    """Of its building environment, where a test needs it."""

    @property
    def folder(self) -> pathlib.Path:
        return self.machine.directory

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def describe(self, model: str) -> None:
        """softlaunch.yaml with another model."""
        self.write("softlaunch.yaml", f"service: {self.name}\nmodel: {model}\nenvironments: [production]\n")

    def commit(self) -> None:
        flights_lab.git(self.folder, "add", "-A")
        flights_lab.git(self.folder, "commit", "-q", "--allow-empty", "-m", "change")

    def build(self) -> process_lab.Answered:
        self.commit()
        return self.machine.command("build", timeout=BUILD_SECONDS_MAX)

    def built(self) -> dict[str, Any]:
        done = self.build()
        assert done.code == 0, done.out + done.err
        found: dict[str, Any] = done.document
        return found

    def refused(self) -> str:
        """What a build that fails says."""
        done = self.build()
        assert done.code != 0, done.out
        return done.out + done.err

    def deploy(self) -> None:
        self.commit()
        done = self.machine.command("deploy", "--wait", "ended", timeout=BUILD_SECONDS_MAX)
        assert done.code == 0, done.out + done.err

    def ask(self, *rows: Mapping[str, Any]) -> httpx.Response:
        with httpx.Client(timeout=30.0, trust_env=False) as caller:
            return caller.post(
                f"http://127.0.0.1:{self.machine.port}/predict",
                json={"rows": list(rows)},
                headers={"host": f"{self.name}.localhost"},
            )

    def answers(self, *rows: Mapping[str, Any]) -> list[dict[str, Any]]:
        answered = self.ask(*rows)
        assert answered.status_code == 200, answered.text
        found: list[dict[str, Any]] = answered.json()["predictions"]
        assert len(rows) == len(found)
        return found


@contextlib.contextmanager
def bringing() -> Iterator[process_lab.ProcessLab]:
    """A machine for all examples; wheels in a folder of this machine are found by uv as they are by pip."""
    wheels = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    variables = {"UV_FIND_LINKS": wheels} if wheels else {}
    with process_lab.laboratory(OMP_NUM_THREADS="1", **variables) as found:
        yield found


def brought(machine: process_lab.ProcessLab, example: str, *, name: str, folder: str = "") -> Service:
    """The example in a repository; nothing is committed yet."""
    repository = machine.directory / "brought" / (folder or name)
    shutil.copytree(EXAMPLES / example, repository, ignore=shutil.ignore_patterns("__pycache__", "*.cbm", "*.pt2"))
    flights_lab.git(repository, "init", "-q", "-b", "main")
    return Service(machine=dataclasses.replace(machine, directory=repository), name=name)


def wheel_of(package: str) -> pathlib.Path | None:
    """A wheel in the folder that pip is told of; None when there is none."""
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        folder = pathlib.Path(os.environ.get(name, "/nowhere"))
        for found in sorted(folder.glob(f"{package}-*.whl")) if folder.is_dir() else ():
            return found
    return None
