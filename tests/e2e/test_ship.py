"""From a commit to users with one command: the real pipeline, control plane and gateway."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator

import bring_lab
import flights_lab
import process_lab
import pytest

from softlaunch.controller.pipeline import run_record

pytestmark = pytest.mark.slow

DESCRIBED = """
service: delivery
model:
  python: delivery.py:ByColumns
  inputs: {vehicle: BYTES, km: FP64}
reference: trips.csv
tests: {command: python check.py, timeout: 60s}
environments:
  integration: {branch: develop, strategy: recreate, verify: smoke}
  production: {branch: main, after: integration, strategy: {recreate: {watch: 0s}}}
"""
TRIPS = "vehicle,km\n" + "".join(f"{vehicle},{km}.5\n" for vehicle in ("bike", "car") for km in range(1, 30))
CHECK = """
import os, pathlib, time
pathlib.Path(os.environ["CHECKED"]).open("a").write("ran\\n")
time.sleep(float(os.environ.get("CHECK_SECONDS", "0")))
import delivery
assert delivery.MINUTES_PER_KM["car"] < 3
"""


@dataclasses.dataclass(kw_only=True)
class Shop(bring_lab.Service):
    def ship(self, ref: str, environment: str = "production", **variables: str) -> process_lab.Answered:
        return self.machine.command("ship", ref, "--env", environment, timeout=90, **self.variables(variables))

    def started(self, **variables: str) -> subprocess.Popen[bytes]:
        """A run to production that goes on."""
        return subprocess.Popen(
            [
                *self.machine.verb("ship", "main", "--env", "production"),
                "--home",
                str(self.machine.home.root),
                "--json",
            ],
            cwd=self.folder,
            env={**self.machine.environment(), **self.variables(variables)},
            stdout=subprocess.DEVNULL,
        )

    def variables(self, more: dict[str, str]) -> dict[str, str]:
        return {"CHECKED": str(self.checked), **more}

    @property
    def checked(self) -> pathlib.Path:
        return self.folder.parent / "checked"

    @property
    def check_count(self) -> int:
        return len(self.checked.read_text().splitlines())

    def live(self) -> dict[str, str]:
        found = self.machine.client.get("/v1/status")["services"]
        return {entry["environment"]: entry["stable"] for entry in found}

    def pace(self, car: float) -> None:
        code = (self.folder / "delivery.py").read_text()
        head, _, rest = code.partition('"car": ')
        self.write("delivery.py", f'{head}"car": {car}{rest[rest.index("}") :]}')
        self.commit()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with bring_lab.bringing() as machine:
        made = bring_lab.brought(machine, "python_class", name="delivery")
        found = Shop(machine=made.machine, name=made.name)
        found.write("softlaunch.yaml", DESCRIBED)
        found.write("trips.csv", TRIPS)
        found.write("check.py", CHECK)
        found.commit()
        done = found.ship("main")
        assert done.code == 0, done.out + done.err
        yield found


def test_a_merge_goes_through_integration_to_users_with_one_digest(shop) -> None:
    flights_lab.git(shop.folder, "checkout", "-q", "-b", "develop")
    shop.pace(2.0)
    there = shop.ship("develop", "integration")
    before = shop.live()["production"]
    flights_lab.git(shop.folder, "checkout", "-q", "main")
    flights_lab.git(shop.folder, "merge", "-q", "--no-ff", "--no-edit", "develop")

    here = shop.ship("main")

    assert (0, 0) == (there.code, here.code), there.out + here.out
    assert there.document["release"] != before
    assert there.document["release"] == here.document["release"]
    assert there.document["commit"] != here.document["commit"]
    assert dict.fromkeys(("integration", "production"), there.document["release"]) == shop.live()
    assert [{"minutes": 30.0}] == shop.answers({"vehicle": "car", "km": 10})
    tests = next(step for step in here.document["steps"] if step["name"] == "tests")
    assert tests["cached"]


def test_the_same_commit_again_runs_nothing_and_changes_nothing(shop) -> None:
    count, live = shop.check_count, shop.live()

    done = shop.ship("main")

    assert (0, "unchanged") == (done.code, done.document["outcome"])
    assert count == shop.check_count
    assert live == shop.live()


def test_failing_tests_leave_production_as_it_was(shop) -> None:
    live = shop.live()
    shop.pace(5.0)

    done = shop.ship("main")

    assert (1, "gates_failed") == (done.code, done.document["outcome"]), done.out
    assert "failed" == done.document["steps"][-1]["state"]
    assert live == shop.live()
    shop.pace(2.1)


def test_a_run_that_is_killed_goes_on_and_tests_nothing_twice(shop) -> None:
    shop.pace(2.2)
    runs = shop.machine.home.pipelines / "delivery" / "production"
    process = shop.started()
    until = time.monotonic() + 60
    while not _past_tests(runs):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    number, count = max(int(each.name) for each in runs.iterdir() if each.name.isdigit()), shop.check_count

    done = shop.ship("main")

    assert (0, number) == (done.code, done.document["run"]), done.out
    assert count == shop.check_count
    assert "promoted" == done.document["outcome"]


def test_the_second_of_two_at_once_names_the_first(shop) -> None:
    shop.pace(2.3)
    runs = shop.machine.home.pipelines / "delivery" / "production"
    before = {each.name for each in runs.iterdir()}
    process = shop.started(CHECK_SECONDS="40")
    until = time.monotonic() + 60
    while not (new := {each.name for each in runs.iterdir()} - before):
        assert time.monotonic() < until
        time.sleep(0.01)

    done = shop.ship("main")

    assert 3 == done.code, done.out
    assert f"Run {new.pop()} ships" in done.document["error"]
    assert process.poll() is None
    process.terminate()
    assert 143 == process.wait(30)


def test_a_dirty_tree_is_said_and_not_shipped(shop) -> None:
    shop.ship("HEAD")
    live = shop.live()
    shop.write("delivery.py", "raise SystemExit\n")

    done = shop.ship("HEAD")

    flights_lab.git(shop.folder, "checkout", "-q", "delivery.py")
    assert ["delivery.py"] == done.document["dirty"]
    assert "without the changes to delivery.py" in done.err
    assert live == shop.live()


def test_a_ref_that_looks_like_an_option_is_refused(shop) -> None:
    done = shop.machine.command("ship", "--env", "production", "--", "--upload-pack=x")

    assert 2 == done.code, done.out + done.err


def _past_tests(runs: pathlib.Path) -> bool:
    newest = max((int(each.name) for each in runs.iterdir() if each.name.isdigit()), default=0)
    record = run_record.load(runs / str(newest) / run_record.RUN_FILE)
    if record is None or record.outcome:
        return False
    return any(step.name == "tests" and step.state == "done" for step in record.steps)
