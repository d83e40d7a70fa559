"""The launches that docs/howto shows, each with the environments, the commands and the service that its page names."""

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
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import process_lab
import pytest

from softlaunch.core import release
from softlaunch.testing import arrivals, http_answers, outcomes, traffic

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "howto"
USERS_PER_SECOND = 60.0
EMPLOYEES_PER_SECOND = 20.0
BUILD_SECONDS_MAX = 300.0
OLD, NEW = "max_iter=150", "max_iter=160"
NEW_ON_PAGES = "4fc15d446385"


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

    def commit(self, page: str, code: str) -> None:
        """The service with the page's environments, and code that makes one release or the other."""
        self.page = (PAGES / page).read_text(encoding="utf-8")
        (block,) = re.findall(r"```yaml\n(environments:\n.*?)```", self.page, re.DOTALL)
        repository = self.machine.directory
        shutil.copytree(
            ROOT / "examples" / "flights" / "service",
            repository,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "model.joblib", ".coverage"),
        )
        described = repository / "softlaunch.yaml"
        described.write_text(described.read_text(encoding="utf-8").partition("environments:")[0] + block)
        trained = repository / "train.py"
        trained.write_text(trained.read_text(encoding="utf-8").replace(OLD, code))
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "--allow-empty", "-m", f"{code} as in {page}")

    def says(self, line: str, *, allowed: Sequence[int] = (0,)) -> process_lab.Answered:
        """Runs a command that the page shows."""
        assert line in re.sub(r" +#.*", "", self.page).splitlines(), f"the page does not show {line!r}"
        words = shlex.split(line.replace(NEW_ON_PAGES, self.new))
        done = self.machine.command(*words[1:], timeout=BUILD_SECONDS_MAX)
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

    def _newest(self) -> int:
        return max((found["id"] for found in self.machine.client.get("/v1/rollouts")), default=0)

    def old_again(self) -> None:
        """Whatever a test left: the old release is live, and the new one may be launched."""
        self.machine.command("abort")
        newest = self._newest()
        self.machine.finished(newest)
        if self.live != self.old:
            self.machine.command("rollback", "--to", self.old)
        self.machine.command("unpin", self.new, "--reason", "the next page")

    @contextlib.contextmanager
    def people(self) -> Iterator[tuple[Crowd, Crowd]]:
        """Users and employees, who ask until the end; nobody is left without an answer."""
        digest = release.Digest(self.machine.client.get("/v1/status")["services"][0]["stable"])
        (smoke,) = self.machine.home.releases.glob(f"*{digest.value[len('sha256:') :]}*/**/smoke.json")
        rows = json.loads(smoke.read_bytes())
        port = self.machine.port
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
            if "recreate:" not in self.page:
                assert 0 == report.failed, report


def git(directory: pathlib.Path, *arguments: str) -> None:
    person = {"NAME": "Flight desk", "EMAIL": "desk@flights.example"}
    variables = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in person.items()}
    environment = {**os.environ, **variables, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=directory, check=True, env=environment)


@pytest.fixture(scope="module")
def built() -> Iterator[Flights]:
    with process_lab.laboratory(OMP_NUM_THREADS="1") as machine:
        repository = machine.directory / "flights"
        repository.mkdir()
        git(repository, "init", "-q", "-b", "main")
        found = Flights(machine=dataclasses.replace(machine, directory=repository))
        found.commit("recreate.md", OLD)
        found.says("softlaunch deploy")
        found.old = found.live
        found.commit("recreate.md", NEW)
        done = found.machine.command("build", timeout=BUILD_SECONDS_MAX)
        assert done.code == 0, done.out + done.err
        found.new = done.document["release"].removeprefix("sha256:")[:12]
        found.machine.finished(1)
        yield found


@pytest.fixture
def flights(built) -> Iterator[Flights]:
    assert built.old == built.live
    yield built
    built.old_again()


def test_recreate_is_down_for_a_moment_in_which_the_fallback_answers(flights) -> None:
    flights.commit("recreate.md", NEW)
    with flights.people() as (users, _):
        view = flights.says("softlaunch deploy --wait ended").document
        assert "promoted" == view["outcome"]
        assert 0.0 < view["measured"]["downtime_seconds"] < 30.0
        assert flights.new == flights.live
        assert 0 < users.load.tally().failed < users.load.tally().ok
        failed = users.load.tally().failed
        flights.says('softlaunch rollback --reason "Fares look odd."')
        assert flights.old == flights.live
        assert failed == users.load.tally().failed

    flights.says('softlaunch unpin 4fc15d446385 --reason "The fares were right."')
    assert {flights.old, flights.new} == set(users.releases)


def test_blue_green_moves_everybody_at_once_and_back_in_under_a_second(flights) -> None:
    flights.commit("blue-green.md", NEW)
    with flights.people() as (users, _):
        assert "promoted" == flights.says("softlaunch deploy --wait ended").document["outcome"]
        assert flights.new == flights.live
        users.since()
        back = flights.says('softlaunch rollback --reason "Fares look odd."').document

    assert flights.old == flights.live
    assert {flights.old, flights.new} >= set(users.releases)
    number = back["rollout_id"] if "rollout_id" in back else back["id"]
    events = flights.machine.client.get("/v1/events", rollout_id=number)
    assert next(event["at"] for event in events if event["kind"] == "finished") - events[0]["at"] < 1.0


def test_employees_meet_a_release_before_everybody_else(flights) -> None:
    flights.commit("canary-by-cohorts.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            assert {flights.old} == set(users.releases)
            employees.since()
            flights.machine.when(number, lambda _: employees.releases.total() >= 100)
            assert 0.6 < employees.releases[flights.new] / employees.releases.total() < 0.95
            flights.says('softlaunch approve --reason "Employees are content."')
            assert "promoted" == printed.result().document["outcome"]
        assert flights.new == flights.live
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live
    assert 0 < users.releases[flights.new]


def test_nobody_sees_what_a_shadow_answers_until_somebody_approves(flights) -> None:
    flights.commit("shadow.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            pairs = flights.machine.command("compare", str(number)).document["pairs"]
            assert 100 <= pairs["pair_count"]
            assert 0.9 < pairs["agreement_rate"] <= 1.0
            assert {flights.old} == set(users.releases) | set(employees.releases)
            flights.says('softlaunch approve --reason "The differences are fine."')
            assert "promoted" == printed.result().document["outcome"]
        assert flights.new == flights.live
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live


def test_a_shadow_that_is_aborted_has_met_nobody_and_is_not_pinned(flights) -> None:
    flights.commit("shadow.md", NEW)
    with (
        flights.people() as (users, employees),
        flights.launching("softlaunch deploy --wait ended", allowed=(0, 1)) as (number, _),
    ):
        flights.waits(number)
        flights.says('softlaunch abort --reason "Look at the night flights first."')
        assert "aborted" == flights.machine.finished(number)["outcome"]

    assert {flights.old} == set(users.releases) | set(employees.releases)
    assert [] == flights.machine.command("pins").document


def test_a_composed_launch_goes_through_all_of_its_steps(flights) -> None:
    flights.commit("compose-a-launch.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            assert {flights.old} == set(users.releases)
            assert 0 < employees.releases[flights.new]
            flights.says('softlaunch approve --reason "Employees are content."')
            view = printed.result().document
        assert ("promoted", flights.new) == (view["outcome"], flights.live)
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live
    texts = [event["text"] for event in flights.machine.client.get("/v1/events", rollout_id=number)]
    steps = [int(step) for text in texts for step in re.findall(r"Step (\d) of 6", text)]
    assert sorted(set(steps)) == steps == list(range(steps[0], steps[-1] + 1))
    assert (1, 5) == (steps[0], steps[-1])
