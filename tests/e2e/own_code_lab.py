"""An example of somebody's own HTTP code in a repository and a home of its own, with users who ask it all the time."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import flights_lab
import process_lab

from softlaunch.adapters.spool import local
from softlaunch.core import release, spool
from softlaunch.testing import arrivals, outcomes, traffic

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "serving"
SERVICE = "flight-delay"
USERS_PER_SECOND = 60.0
_BUILD_SECONDS_MAX = 300.0

ENVIRONMENTS = """
environments:
  production:
    strategy:
      {kind}:
        key: x-user-id
        steps: {steps}
        guardrails: {guardrails}
        step_attempts_min: 20
        acceptable: 5%
        watch: 0s
"""


def is_score(answer: Any) -> bool:
    document = json.loads(answer.body)
    return 0.0 <= document["late"] <= 1.0


@dataclasses.dataclass(kw_only=True)
class OwnCode:
    machine: process_lab.ProcessLab

    @property
    def repository(self) -> pathlib.Path:
        return self.machine.directory

    def plan(
        self,
        *,
        kind: str = "canary",
        steps: str = "[20%, 100%]",
        guardrails: str = "[errors, client_errors, latency, invalid]",
    ) -> None:
        """The environments of softlaunch.yaml."""
        path = self.repository / "softlaunch.yaml"
        head = path.read_text(encoding="utf-8").partition("\nenvironments:")[0]
        path.write_text(head + ENVIRONMENTS.format(kind=kind, steps=steps, guardrails=guardrails))

    def change(self, name: str, old: str, new: str) -> None:
        path = self.repository / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new))

    @contextlib.contextmanager
    def changed(self, name: str, old: str, new: str) -> Iterator[None]:
        """A commit with that change; the file is as it was afterwards."""
        self.change(name, old, new)
        try:
            yield
        finally:
            self.change(name, new, old)

    def deploy(self) -> dict[str, Any]:
        """Commits what is there, launches it, and waits for the end."""
        flights_lab.git(self.repository, "add", "-A")
        flights_lab.git(self.repository, "commit", "-q", "--allow-empty", "-m", "next")
        done = self.machine.command("deploy", "--wait", "ended", timeout=_BUILD_SECONDS_MAX)
        assert done.out, done.err
        view: dict[str, Any] = done.document
        return view

    def live(self) -> str:
        (found,) = self.machine.client.get("/v1/status")["services"]
        return release.Digest(found["stable"]).short

    def replicas(self) -> list[dict[str, Any]]:
        (found,) = self.machine.client.get("/v1/status")["services"]
        replicas: list[dict[str, Any]] = found["replicas"]
        return replicas

    def wait(self, condition: Callable[[], object], *, seconds: float = 30.0) -> None:
        """Returns once it holds."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.replicas()
            time.sleep(0.05)

    def recorded(self, condition: Callable[[spool.Record], bool]) -> list[spool.Record]:
        """Records that fit, once there is one."""
        until = time.monotonic() + 10.0
        while time.monotonic() < until:
            every = local.LocalSpool(self.machine.home.spool).scan(SERVICE, "production", since=0.0, until=time.time())
            found = [record for record in every if condition(record)]
            if found:
                return found
            time.sleep(0.1)
        raise TimeoutError

    @contextlib.contextmanager
    def users(self) -> Iterator[traffic.Load]:
        """People who ask until the end, every one of whom is answered with a score."""
        bodies = itertools.cycle([json.dumps({"distance": 200 + 37 * n, "hour": 6 + n % 16}) for n in range(50)])
        requests = (
            traffic.Request(
                path="/score",
                headers=(("content-type", "application/json"), ("x-user-id", f"u{number * 769 % 2000}")),
                body=next(bodies).encode(),
            )
            for number in itertools.count()
        )
        load = traffic.Load(traffic.Target(port=self.machine.port), requests, check=outcomes.Check(valid=is_score))
        with traffic.Background(load, arrivals.steady(USERS_PER_SECOND)) as asked:
            yield load
        assert 0 == asked.report.failed, asked.report
        assert asked.report.planned > 0


@contextlib.contextmanager
def example(name: str, *, train: bool = False) -> Iterator[OwnCode]:
    """The example's first release is live."""
    with process_lab.laboratory(OMP_NUM_THREADS="1") as machine:
        repository = machine.directory / "service"
        shutil.copytree(EXAMPLES / name, repository, ignore=shutil.ignore_patterns("__pycache__", "model.joblib"))
        if train:
            subprocess.run([sys.executable, "train.py"], cwd=repository, check=True)
        flights_lab.git(repository, "init", "-q", "-b", "main")
        found = OwnCode(machine=dataclasses.replace(machine, directory=repository))
        found.plan()
        view = found.deploy()
        assert view["outcome"] == "promoted", view["reason"]
        yield found


def guardrail(view: dict[str, Any]) -> str:
    """What the rollout was taken back for, as its reason says it."""
    return re.sub(r"\s+", " ", str(view["reason"]))
