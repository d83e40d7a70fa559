"""
From a merge to production: a git server, a docker-registry and `softlaunch up`, all of them real.

Merges launch what was tested, signed and sent to the registry; a rollback wins over Git, and needs no git server; a
second machine gets the same bytes from the registry and checks who made them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import image_lab
import process_lab
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration" / "gitops"))

import git_server

from softlaunch.cli import client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="not installed: docker-registry"),
]

SERVICE = "delivery"
YAML = """
service: delivery
model: {python: "delivery.py:ByRows", inputs: {km: FP64}}
reference: deliveries.csv
registry: REGISTRY/delivery
environments:
  integration: {branch: develop, verify: smoke, strategy: recreate}
  production:
    branch: main
    after: integration
    evidence: {require: signed}
    strategy:
      canary: {key: x-user-id, steps: [50%, 100%], step_attempts_min: 20, acceptable: 5%, watch: 1h}
"""
MODEL = '''
"""Delivery times."""


class ByRows:
    outputs = {{"minutes": "FP64"}}

    def predict(self, rows):
        {trap}
        return [{{"minutes": {minutes} + row["km"]}} for row in rows]
'''
GOOD, BETTER, BEST, BAD = 10.0, 20.0, 31.0, 40.0
TRAP = 'if any(row["km"] == 7.0 for row in rows): raise ValueError("seven")'
"""What users ask for, and smoke requests do not."""
SECONDS_MAX = 60.0


class Users:
    """People who ask production all the time, and what they are answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: list[tuple[float, int, float]] = []
        """When, status, minutes."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def lately(self, count: int = 40) -> set[float]:
        return {minutes for _, _, minutes in self.answers[-count:]}

    def _ask(self, number: int) -> None:
        body = json.dumps({"rows": [{"km": 7.0}]})
        for turn in itertools.count():
            if self._stopping.is_set():
                return
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10.0)
            headers = {"content-type": "application/json", "x-user-id": f"{number}-{turn % 500}"}
            connection.request("POST", "/predict", body, headers)
            answer = connection.getresponse()
            document = json.loads(answer.read())
            connection.close()
            found = document["predictions"][0]["minutes"] - 7.0 if answer.status == 200 else -1.0
            self.answers.append((began, answer.status, found))
            time.sleep(0.005)


@dataclasses.dataclass
class Lab:
    machine: process_lab.ProcessLab
    server: git_server.GitServer
    clone: pathlib.Path
    registry: str
    """HOST:PORT."""

    def write(self, minutes: float, *, branch: str, trap: str = "pass") -> str:
        """A commit with that model, pushed."""
        self.git("checkout", "-q", "-B", branch)
        (self.clone / "softlaunch.yaml").write_text(YAML.replace("REGISTRY", self.registry))
        (self.clone / "delivery.py").write_text(MODEL.format(minutes=minutes, trap=trap))
        (self.clone / "deliveries.csv").write_text("km\n" + "".join(f"{10 + number / 4}\n" for number in range(40)))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"{minutes:g} minutes")
        self.git("push", "-q", "origin", branch)
        return self.git("rev-parse", "HEAD")

    def merge(self) -> str:
        """Develop into main, as a hosting service does it for people: with a merge commit, whatever hooks say."""
        place = self.server.directory / "flights.git"
        tree = git_server.git(place, "rev-parse", "develop^{tree}")
        made = git_server.git(place, "commit-tree", "-p", "main", "-p", "develop", "-m", "Merge branch develop", tree)
        git_server.git(place, "update-ref", "refs/heads/main", made)
        return made

    def git(self, *arguments: str) -> str:
        return git_server.git(self.clone, *arguments)

    def environment(self, name: str) -> Any:
        (found,) = self.machine.client.get("/v1/follows")
        return next((each for each in found["environments"] if each["environment"] == name), None)

    def until(self, name: str, condition: Callable[[Any], object], *, seconds: float = SECONDS_MAX) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.environment(name)
            if found is not None and condition(found):
                return found
            time.sleep(0.05)
        raise AssertionError(json.dumps([self.machine.client.get("/v1/follows"), self._logs()], indent=1))

    def runs(self, name: str, commit: str) -> Any:
        """Waits until the environment runs what the branch says, and that is this commit."""
        return self.until(name, lambda found: found["standing"] == "synced" and found["desired"]["commit"] == commit)

    def launches(self) -> int:
        return max((found["id"] for found in self.machine.client.get("/v1/rollouts", limit=1000)), default=0)

    def _logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.machine.home.logs.glob("pipelines/*.log"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """Both branches say GOOD, and both environments run it."""
    directory = tmp_path_factory.mktemp("gitops")
    (directory / "server").mkdir()
    (directory / "gitconfig").touch()
    server = git_server.GitServer(directory / "server")
    bare = server.create()
    clone = directory / "clone"
    git_server.git(directory, "clone", "-q", str(bare), str(clone))
    variables = {"GIT_CONFIG_GLOBAL": str(directory / "gitconfig"), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        registry = stack.enter_context(image_lab.registry(directory))
        machine = stack.enter_context(process_lab.laboratory(**variables))
        found = Lab(machine=machine, server=server, clone=clone, registry=registry)
        machine.command("key", "new", "--name", "ci")
        first = found.write(GOOD, branch="main")
        found.git("push", "-q", "origin", "main:develop")
        done = machine.command("follow", server.url(), "--every", "1s")
        assert done.code == 0, done.out + done.err
        found.runs("production", first)
        found.runs("integration", first)
        yield found


def test_merges_launch_and_a_rollback_wins_over_git(lab, tmp_path) -> None:
    """One story: each part begins where the one before it ended."""
    with Users(lab.machine.port) as users:
        _merge_to_develop_and_to_main(lab, users)
        _fetch_elsewhere(lab, tmp_path)
        bad = _merge_what_is_bad(lab)
        _ask_what_happened(lab, bad)
        _never_again(lab, bad)
        _merge_the_revert(lab)
        _heal_what_was_deployed_by_hand(lab)
        _roll_back_while_the_server_is_down(lab, users)
    assert {200} == {status for _, status, _ in users.answers}, "nobody was answered an error"


def _merge_to_develop_and_to_main(lab: Lab, users: Users) -> None:
    lab.git("checkout", "-q", "main")
    better = lab.write(BETTER, branch="develop")
    lab.runs("integration", better)
    assert {GOOD} == users.lately(), "production is made of main"

    merge = lab.merge()
    lab.runs("production", merge)

    assert BETTER in users.lately()
    production, integration = lab.environment("production"), lab.environment("integration")
    assert production["running"]["release"] == integration["running"]["release"], "the tested bytes"


def _fetch_elsewhere(lab: Lab, elsewhere: pathlib.Path) -> None:
    """Another machine, which knows the public key and nothing else."""
    running = lab.environment("production")["running"]
    (elsewhere / "keys").mkdir(mode=0o700)
    shutil.copy(lab.machine.home.root / "keys" / "ci.pub", elsewhere / "keys")
    elsewhere.chmod(0o700)

    def there(*words: str) -> Any:
        done = subprocess.run(
            [*lab.machine.verb(*words), "--home", str(elsewhere), "--json"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    tags = there("registry", "list", "--remote", f"{lab.registry}/{SERVICE}")
    fetched = there("registry", "pull", f"{lab.registry}/{SERVICE}:{running['commit']}")
    verified = there("verify", running["release"])

    assert running["commit"] in tags
    assert running["release"] == fetched["release"]
    assert {"provenance", "tests"} & {each["kind"] for each in verified["statements"]}
    assert all(each["verified"] for each in verified["statements"])


def _merge_what_is_bad(lab: Lab) -> str:
    lab.server.protect("main")
    bad = lab.write(BAD, branch="develop", trap=TRAP)
    lab.runs("integration", bad)
    merge = lab.merge()

    found = lab.until("production", lambda found: found["standing"] == "pinned" and found["revert"])

    assert merge == found["desired"]["commit"]
    assert "errors" in found["reason"]
    assert ("offered", f"softlaunch/revert-{merge[:12]}") == (found["revert"]["state"], found["revert"]["branch"])
    assert "not allowed to push to main" in found["revert"]["text"]
    return merge


def _ask_what_happened(lab: Lab, bad: str) -> None:
    rollout = next(found for found in lab.machine.client.get("/v1/rollouts", limit=50) if found["commit"] == bad)
    then = lab.machine.command("history", "--at", f"{rollout['created_at'] + 0.01:.6f}", "--env", "production")
    (place,) = then.document["places"]

    assert (rollout["stable"], None) == (place["live"]["release"], place["live"]["until"])
    assert (rollout["candidate"], "git", "rolled_back") == tuple(
        place["entering"][name] for name in ("release", "requested_by", "outcome")
    )
    assert "errors" in place["entering"]["why"]
    history = lab.machine.command("verify", "--history")
    assert (0, True) == (history.code, history.document["verified"])
    signed = lab.machine.command("verify", rollout["candidate"])
    assert (0, True) == (signed.code, signed.document["verified"]), "it was tested and signed, and bad all the same"
    _ask_where_it_came_from(lab, rollout)


def _ask_where_it_came_from(lab: Lab, rollout: dict[str, Any]) -> None:
    asked = lab.machine.command("lineage", rollout["candidate"])
    assert asked.code == 0, asked.out + asked.err
    nodes = {node["id"]: node for node in asked.document["nodes"]}
    places = {node["label"]: node["facts"]["states"] for node in nodes.values() if node["kind"] == "place"}
    different = lab.machine.command("diff", rollout["stable"], rollout["candidate"]).document
    services = lab.machine.client.get("/v1/status")["services"]
    production = next(each for each in services if each["environment"] == "production")
    lately = lab.machine.command("diff", "--env", "production").document

    assert asked.document["live_known"]
    assert {"integration", "production"} == set(places)
    assert places["integration"][0].startswith("live")
    assert places["production"][0].startswith("pinned: ")
    assert "rolled_back" == nodes[f"rollout:{rollout['id']}"]["facts"]["outcome"]
    assert lab.server.url() in {node["label"] for node in nodes.values() if node["kind"] == "repository"}
    assert {f"commit:{rollout['commit']}"} <= nodes.keys()
    assert ["delivery.py"] == [each["path"] for each in different["code"]]
    assert (production["previous"], production["stable"]) == (lately["before"], lately["after"])


def _never_again(lab: Lab, bad: str) -> None:
    launched = lab.launches()
    for _ in range(5):
        done = lab.machine.command("sync", SERVICE)
        assert done.code == 0, done.out + done.err
    again = lab.merge()  # the same files once more
    lab.until("production", lambda found: found["standing"] == "pinned" and found["desired"]["commit"] == again)

    shown = lab.machine.command("sync", SERVICE, "--status")
    assert 1 == shown.code
    assert bad != again
    assert launched == lab.launches()


def _merge_the_revert(lab: Lab) -> None:
    launched = lab.launches()
    place = lab.server.directory / "flights.git"
    branch = lab.environment("production")["revert"]["branch"]
    tree = git_server.git(place, "rev-parse", f"{branch}^{{tree}}")
    made = git_server.git(place, "commit-tree", "-p", "main", "-p", branch, "-m", "Merge the revert", tree)
    git_server.git(place, "update-ref", "refs/heads/main", made)

    lab.runs("production", made)

    assert launched == lab.launches(), "what runs is what the revert says: nothing was to be launched"


def _heal_what_was_deployed_by_hand(lab: Lab) -> None:
    before = lab.environment("production")["running"]["release"]
    first = lab.git("rev-list", "--max-parents=0", "HEAD")
    done = lab.machine.command("deploy", first, "--env", "production", "--dir", str(lab.clone), timeout=90.0)
    assert done.code == 0, done.out + done.err

    lab.until("production", lambda found: found["running"]["release"] == before and found["standing"] == "synced")


def _roll_back_while_the_server_is_down(lab: Lab, users: Users) -> None:
    lab.git("fetch", "-q", "origin")
    lab.git("checkout", "-q", "-B", "develop", "origin/main")
    lab.server.open()
    best = lab.write(BEST, branch="develop")
    lab.runs("integration", best)
    merge = lab.merge()
    lab.runs("production", merge)
    lab.server.close()
    (found,) = _until_unreachable(lab)
    assert found["unreachable_since"] is not None

    asked = time.monotonic()
    body = {"by": "ann", "to": "previous", "reason": "wrong"}
    control = client.Client(lab.machine.home)
    control.post(f"/v1/services/{SERVICE}/production/rollback", body)
    time.sleep(3.0)  # long enough for a late one to be seen

    late = max((at for at, _, minutes in users.answers if minutes == BEST), default=asked) - asked
    print(f"last answer of the release that was taken back: {late:.3f} s after it was asked")
    assert late < 1.0
    launched = lab.launches()
    lab.until("production", lambda found: found["standing"] == "pinned")
    done = lab.machine.command("sync", SERVICE)
    assert 0 == done.code
    assert "unreachable" in _shown(lab)
    assert launched == lab.launches()


def _until_unreachable(lab: Lab) -> Any:
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        found = lab.machine.client.get("/v1/follows")
        if found[0]["unreachable_since"] is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def _shown(lab: Lab) -> str:
    """As people see it."""
    done = subprocess.run(
        [*lab.machine.verb("sync", SERVICE, "--status"), "--home", str(lab.machine.home.root)],
        env=lab.machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout
