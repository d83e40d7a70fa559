"""
The flights service in a repository and a home of its own, for the launches that docs/howto shows.

What is launched comes from the pages: the environments, files of the repository, and the commands.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lab
import process_lab
import psutil

from softlaunch.core import release
from softlaunch.testing import arrivals, http_answers, outcomes, traffic

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "howto"
USERS_PER_SECOND = 60.0
EMPLOYEES_PER_SECOND = 20.0
BUILD_SECONDS_MAX = 300.0
OLD, NEW = "max_iter=150", "max_iter=160"
NEW_ON_PAGES = "4fc15d446385"
ONCALL = "ONCALL_URL"
"""The variable that the page about notifications names."""


class Crowd:
    """People who ask about flights, and which release answered them."""

    def __init__(self, port: int, rows: list[dict[str, Any]], *headers: tuple[str, str], name: str) -> None:
        self.releases: collections.Counter[str] = collections.Counter()
        bodies = itertools.cycle([json.dumps({"rows": [row]}).encode() for row in rows])
        requests = (
            traffic.Request(
                headers=(
                    ("content-type", "application/json"),
                    ("x-user-id", f"{name}-{number * 769 % 2000}"),
                    *headers,
                ),
                body=next(bodies),
            )
            for number in itertools.count()
        )
        self.load = traffic.Load(traffic.Target(port=port), requests, check=outcomes.Check(valid=self._valid))

    def _valid(self, answer: http_answers.Answer) -> bool:
        document = json.loads(answer.body)
        self.releases[document["release"]] += 1
        return len(document["predictions"]) == 1

    def since(self) -> None:
        """Counts releases anew."""
        self.releases.clear()


@dataclasses.dataclass(kw_only=True)
class Flights:
    """The flights service in a repository of its own: `old` is live and `new` is built."""

    machine: process_lab.ProcessLab
    old: str = ""
    new: str = ""
    page: str = ""

    def commit(
        self, page: str, code: str, *, files_of: str | None = None, ports: Mapping[int, int] | None = None
    ) -> None:
        """
        The service with the page's environments, and code that makes one release or the other.

        Args:
            page: In docs/howto.
            code: `OLD` or `NEW`.
            files_of: The page whose files are laid into the repository; the same one if left out.
            ports: Free ones, in place of those that the page names.
        """
        self.page = read(page)
        (block,) = re.findall(r"```yaml\n(environments:\n.*?)```", self.page, re.DOTALL)
        for shown, free in (ports or {}).items():
            assert f"127.0.0.1:{shown}" in block
            block = block.replace(f"127.0.0.1:{shown}", f"127.0.0.1:{free}")
        repository = self.machine.directory
        for left in repository.glob("fallback.*"):
            left.unlink()
        shutil.copytree(
            ROOT / "examples" / "flights" / "service",
            repository,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "model.joblib", ".coverage", "data"),
        )
        if not (repository / "data").is_dir():
            # The data is made, not committed: a fresh clone has none.
            subprocess.run([sys.executable, "prepare.py"], cwd=repository, check=True, capture_output=True)
        described = repository / "softlaunch.yaml"
        described.write_text(described.read_text(encoding="utf-8").partition("environments:")[0] + block)
        trained = repository / "train.py"
        trained.write_text(trained.read_text(encoding="utf-8").replace(OLD, code))
        for name, text in files(read(files_of or page)):
            (repository / name).write_text(text)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "--allow-empty", "-m", f"{code} as in {page}")

    def says(self, line: str, *, allowed: Sequence[int] = (0,), **variables: str) -> process_lab.Answered:
        """Runs a command that the page shows."""
        assert line in re.sub(r" +#.*", "", self.page).splitlines(), f"the page does not show {line!r}"
        words = shlex.split(line.replace(NEW_ON_PAGES, self.new))
        done = self.machine.command(*words[1:], timeout=BUILD_SECONDS_MAX, **variables)
        assert done.code in allowed, done.out + done.err
        return done

    @contextlib.contextmanager
    def launching(
        self, line: str, *, allowed: Sequence[int] = (0,)
    ) -> Iterator[tuple[int, concurrent.futures.Future[process_lab.Answered]]]:
        """A launch that goes on in a shell of its own: its number, and what it printed in the end."""
        before = self._newest()
        with concurrent.futures.ThreadPoolExecutor(1) as shells:
            printed = shells.submit(self.says, line, allowed=allowed)
            while (number := self._newest()) == before:
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    printed.result(timeout=0.05)
            yield number, printed

    def waits(self, number: int) -> dict[str, Any]:
        """The rollout when somebody has to approve."""
        return self.machine.when(number, lambda view: (view["hold"] or {}).get("kind") == "approval")

    @property
    def live(self) -> str:
        (found,) = self.machine.client.get("/v1/status")["services"]
        return str(found["stable"])[len("sha256:") :][:12]

    def build(self) -> str:
        """Twelve digits of the release of what is committed."""
        done = self.machine.command("build", timeout=BUILD_SECONDS_MAX)
        assert done.code == 0, done.out + done.err
        return release.Digest(done.document["release"]).short

    def _newest(self) -> int:
        return max((found["id"] for found in self.machine.client.get("/v1/rollouts")), default=0)

    def old_again(self) -> None:
        """Whatever a test left: the old release is live, and the new one may be launched."""
        self.machine.command("abort")
        newest = self._newest()
        self.machine.finished(newest)
        self._unpin()
        if self.live != self.old:
            self.machine.command("rollback", "--to", self.old)
        self._unpin()

    def _unpin(self) -> None:
        for pin in self.machine.command("pins").document:
            name = release.Digest(pin["release"]).short
            self.machine.command("unpin", name, "--reason", "the next page")

    def send(self, what: signal.Signals, *digests: str) -> None:
        """A signal to the model servers of these releases, twelve digits each."""
        (found,) = self.machine.client.get("/v1/status")["services"]
        for replica in found["replicas"]:
            if replica["release"] in digests:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(replica["pid"]).send_signal(what)

    @contextlib.contextmanager
    def hanging(self, *digests: str) -> Iterator[None]:
        """Meanwhile the model servers of these releases neither answer nor end."""
        self.send(signal.SIGSTOP, *digests)
        try:
            yield
        finally:
            self.send(signal.SIGCONT, *digests)

    def rows(self) -> list[dict[str, Any]]:
        """Flights to ask about: the smoke requests of the release that is live."""
        digest = release.Digest(self.machine.client.get("/v1/status")["services"][0]["stable"])
        (smoke,) = self.machine.home.releases.glob(f"*{digest.value[len('sha256:') :]}*/**/smoke.json")
        found: list[dict[str, Any]] = json.loads(smoke.read_bytes())
        return found

    @contextlib.contextmanager
    def people(self, *, fallbacks: bool = False) -> Iterator[tuple[Crowd, Crowd]]:
        """Users and employees, who ask until the end; everybody is answered, and by a release unless `fallbacks`."""
        rows, port = self.rows(), self.machine.port
        users = Crowd(port, rows, name="user")
        employees = Crowd(port, rows, ("x-employee", "yes"), name="employee")
        with (
            traffic.Background(users.load, arrivals.steady(USERS_PER_SECOND)) as asked,
            traffic.Background(employees.load, arrivals.steady(EMPLOYEES_PER_SECOND)) as also,
        ):
            yield users, employees
        for report in (asked.report, also.report):
            answered = report.outcomes[outcomes.Outcome.OK] + report.outcomes[outcomes.Outcome.FALLBACK]
            assert report.planned == answered, report
            assert fallbacks or 0 == report.failed, report


def read(page: str) -> str:
    return (PAGES / page).read_text(encoding="utf-8")


def files(page: str) -> list[tuple[str, str]]:
    """Names and texts of the files that a page lays into the repository."""
    found = re.findall(r"^`([\w.]+)` in the repository:.*?\n```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(name, text) for name, text in found]


def git(directory: pathlib.Path, *arguments: str) -> None:
    person = {"NAME": "Flight desk", "EMAIL": "desk@flights.example"}
    variables = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in person.items()}
    environment = {**os.environ, **variables, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=directory, check=True, env=environment)


@contextlib.contextmanager
def built() -> Iterator[Flights]:
    """The old release is live; the new one is built."""
    oncall = f"json://127.0.0.1:{lab.free_port()}"
    with process_lab.laboratory(OMP_NUM_THREADS="1", **{ONCALL: oncall}) as machine:
        repository = machine.directory / "flights"
        repository.mkdir()
        git(repository, "init", "-q", "-b", "main")
        found = Flights(machine=dataclasses.replace(machine, directory=repository))
        found.commit("recreate.md", OLD)
        found.says("softlaunch deploy")
        found.old = found.live
        found.commit("recreate.md", NEW)
        found.new = found.build()
        found.machine.finished(1)
        yield found
