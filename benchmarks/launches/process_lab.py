"""
A laboratory of processes: a real `softlaunch up` in a temporary home, to be killed at any moment.

Releases are pushed ready made and launched through the HTTP API, as the command line does. Leaving the laboratory runs
`softlaunch down` and makes sure that nothing of the home is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import lab
import psutil

from softlaunch import errors
from softlaunch.adapters.oci import registry
from softlaunch.cli import client
from softlaunch.config import home as homes
from softlaunch.core import release, spec, spec_json
from softlaunch.testing import releases

POLL_SECONDS = 0.02


@dataclasses.dataclass(kw_only=True)
class Answered:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclasses.dataclass(kw_only=True)
class ProcessLab:
    """One home, its control plane, and what can be done to it."""

    home: homes.Home
    port: int
    variables: dict[str, str]
    directory: pathlib.Path

    @property
    def client(self) -> client.Client:
        return client.Client(self.home)

    def command(self, *arguments: str, timeout: float = 90.0, **variables: str) -> Answered:
        """Runs a verb on this home, with --json."""
        done = subprocess.run(
            [*self.verb(*arguments), "--home", str(self.home.root), "--json"],
            env={**self.environment(), **variables},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Answered(code=done.returncode, out=done.stdout, err=done.stderr)

    def verb(self, *arguments: str) -> list[str]:
        """The command line, without the home."""
        return [sys.executable, "-m", "softlaunch.cli.main", *arguments]

    def environment(self) -> dict[str, str]:
        """The variables every command of this laboratory sees."""
        return {**os.environ, **self.variables}

    def up(self) -> float:
        """Starts the control plane; seconds until it said that it was ready."""
        done = self.command("up")
        assert done.code == 0, done.out + done.err
        seconds: float = done.document["seconds"]
        return seconds

    def down(self) -> None:
        done = self.command("down")
        assert done.code == 0, done.out + done.err

    def kill_control_plane(self) -> None:
        """kill -9; returns when it is gone."""
        address = client.read_address(self.home)
        assert address is not None, "no control plane to kill"
        kill(int(address["pid"]))

    def envoy_pid(self) -> int:
        pid: int = json.loads((self.home.gateway / "envoy.json").read_bytes())["pid"]
        return pid

    def make(self, name: str, source: str = releases.GOOD, *, service: str = lab.SERVICE) -> release.Digest:
        """Pushes a release; another name is another digest."""
        written = releases.write(self.directory / "sources" / service / name, name=name, source=source)
        if service != lab.SERVICE:
            path = written / "release.json"
            document = json.loads(path.read_bytes())
            path.write_text(json.dumps({**document, "service": service}))
        return registry.OciRegistry(self.home.registry).push(written)

    def start(self, digest: release.Digest, environment: spec.EnvironmentSpec, *, service: str = lab.SERVICE) -> int:
        """Begins a launch; returns its number."""
        done = self.client.post("/v1/rollouts", body(digest, environment, service=service))
        number: int = done["rollout_id"]
        return number

    def deploy(
        self, digest: release.Digest, environment: spec.EnvironmentSpec, *, service: str = lab.SERVICE
    ) -> dict[str, Any]:
        """Launches and waits for the end."""
        return self.finished(self.start(digest, environment, service=service))

    def view(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/rollouts/{number}")
        return found

    def finished(self, number: int, *, timeout: float = 120.0) -> dict[str, Any]:
        return self.when(number, lambda found: found["outcome"] is not None, timeout=timeout)

    def when(
        self, number: int, condition: Callable[[dict[str, Any]], bool], *, timeout: float = 120.0
    ) -> dict[str, Any]:
        """The first view of a rollout that fits."""
        caller = self.client
        until = time.monotonic() + timeout
        while True:
            found: dict[str, Any] = caller.get(f"/v1/rollouts/{number}")
            if condition(found):
                return found
            if time.monotonic() > until:
                raise TimeoutError(json.dumps(found, indent=1))
            time.sleep(POLL_SECONDS)

    def replicas(self, digest: release.Digest, *, service: str = lab.SERVICE) -> list[dict[str, Any]]:
        """The replicas of a release as `softlaunch status` shows them."""
        found = next(entry for entry in self.client.get("/v1/status")["services"] if entry["service"] == service)
        return [replica for replica in found["replicas"] if replica["release"] == digest.short]

    def log_size(self) -> int:
        """Bytes in the attempt log; it must not have been rotated."""
        path = self.home.gateway / "attempts.log"
        return path.stat().st_size if path.exists() else 0

    def history(self) -> dict[str, Any]:
        """Stable's recorded history as the state holds it; read beside the control plane, without writing."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home.state_file}?mode=ro", uri=True)) as reading:
            (text,) = reading.execute("SELECT history FROM lives").fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def processes(self) -> dict[int, str]:
        """Every living process of this home: control plane, Envoy, model servers."""
        marks = (os.fsencode(self.home.root), os.fsencode(self.home.run))
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                seen = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
                seen += pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
                if any(mark in seen for mark in marks):
                    found[process.pid] = " ".join(process.cmdline())
        return found


@contextlib.contextmanager
def laboratory(*, started: bool = True, place: pathlib.Path | None = None, **variables: str) -> Iterator[ProcessLab]:
    """A home of its own (below `place`) with free ports; stopped, checked and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="sl-e2e-", dir=place) as name:
        port = lab.free_port()
        found = ProcessLab(
            home=homes.Home.locate(pathlib.Path(name) / "home"),
            port=port,
            directory=pathlib.Path(name),
            variables={
                "SOFTLAUNCH_PRODUCTION_PORT": str(port),
                "SOFTLAUNCH_API_PORT": str(lab.free_port()),
                "SOFTLAUNCH_ENVIRONMENT_PORT_FIRST": str(lab.free_port()),
                **variables,
            },
        )
        try:
            if started:
                found.up()
            yield found
        finally:
            done = found.command("down")
            left = settled(found.processes)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert not left, f"`softlaunch down` ({done.out}{done.err}) left {left}"


def settled(look: Callable[[], Mapping[int, str]], *, seconds: float = 3.0) -> Mapping[int, str]:
    """What is still there after processes have had time to end."""
    until = time.monotonic() + seconds
    while (left := look()) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return left


def kill(pid: int) -> None:
    """kill -9; returns when the process is gone or a zombie."""
    process = psutil.Process(pid)
    process.kill()
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.002)
    raise TimeoutError(f"process {pid} survived kill -9")


def body(digest: release.Digest, environment: spec.EnvironmentSpec, *, service: str = lab.SERVICE) -> dict[str, Any]:
    """The API's request for a launch."""
    return {
        "service": service,
        "environment": spec_json.dump_environment(environment).decode(),
        "release": digest.value,
        "ref": "lab",
        "commit": "0" * 40,
        "by": "lab",
    }


def ask(
    port: int,
    payload: bytes,
    *,
    path: str = "/predict",
    method: str = "POST",
    host: str | None = None,
    timeout: float = 30.0,
) -> tuple[int, bytes]:
    """One request through the gateway: status and body."""
    headers = {"content-type": "application/json", "x-user-id": "u1", **({"host": host} if host else {})}
    with httpx.Client(timeout=timeout, trust_env=False) as caller:
        answer = caller.request(method, f"http://127.0.0.1:{port}{path}", content=payload, headers=headers)
    return answer.status_code, answer.content


def serves(port: int) -> bool:
    """Whether a prediction comes back now."""
    try:
        status, answer = ask(port, json.dumps(releases.LIVE_ROW).encode(), timeout=2.0)
    except httpx.HTTPError:
        return False
    return status == 200 and b"probability" in answer


def refused(call: Callable[[], Any]) -> errors.SoftlaunchError:
    """The error a call ends with."""
    try:
        call()
    except errors.SoftlaunchError as error:
        return error
    raise AssertionError("it was not refused")
