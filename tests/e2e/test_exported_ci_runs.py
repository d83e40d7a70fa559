"""Exported CI files, run by what stands in for each system here: real rollbacks, on a real control plane."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import bring_lab
import ci_tools
import flights_lab
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.servers]

DESCRIBED = """
service: delivery
model:
  python: delivery.py:ByColumns
  inputs: {vehicle: BYTES, km: FP64}
reference: trips.csv
environments:
  production: {branch: main, strategy: {recreate: {watch: 0s}}}
"""
TRIPS = "vehicle,km\n" + "".join(f"{vehicle},{km}.5\n" for vehicle in ("bike", "car") for km in range(1, 30))


@dataclasses.dataclass(kw_only=True)
class Team(bring_lab.Service):
    """A repository with two releases, each shipped in its turn, and exported files for every system."""

    releases: dict[str, str] = dataclasses.field(default_factory=dict)
    """Digest by commit, in their order."""

    def change(self) -> str:
        """A commit with another answer."""
        code = (self.folder / "delivery.py").read_text()
        head, _, rest = code.partition('"car": ')
        self.write("delivery.py", f'{head}"car": {2.5 + len(self.releases)}{rest[rest.index("}") :]}')
        self.commit()
        return ci_tools.passes("git", "rev-parse", "HEAD", folder=self.folder).strip()

    def ship(self) -> None:
        self.change()
        done = self.machine.command("ship", "main", timeout=240)
        assert done.code == 0, done.out + done.err
        self.releases[done.document["commit"]] = done.document["release"]

    def live(self) -> str:
        (found,) = self.machine.client.get("/v1/status")["services"]
        digest: str = found["stable"]
        return digest

    def other(self) -> tuple[str, str]:
        """Commit and digest of the release that is not live; it may be, for it is not pinned."""
        if len(self.releases) == 1:
            self.ship()
        live = self.live()
        commit, digest = next(each for each in self.releases.items() if each[1] != live)
        self.machine.command("unpin", digest, "--reason", "The next test goes to it.")
        return commit, digest

    def in_system(self, *command: object) -> subprocess.CompletedProcess[str]:
        """A CI system's run, by the user whose control plane it is."""
        return ci_tools.run(
            *command,
            folder=self.folder,
            timeout=120,
            variables={
                **self.machine.variables,
                "SOFTLAUNCH_HOME": str(self.machine.home.root),
                "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
        )


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    with bring_lab.bringing() as machine:
        made = bring_lab.brought(machine, "python_class", name="delivery")
        found = Team(machine=made.machine, name=made.name)
        found.write("softlaunch.yaml", DESCRIBED)
        found.write("trips.csv", TRIPS)
        for system in ("github", "gitlab"):
            done = ci_tools.run(*machine.verb("export", system), folder=found.folder)
            assert done.returncode == 0, done.stderr
        flights_lab.git(found.folder, "remote", "add", "origin", "git@git.example.com:team/delivery.git")
        found.ship()
        yield found


ACT = ci_tools.of_python("act")


def act(team: Team, event: str, workflow: str, *more: str) -> subprocess.CompletedProcess[str]:
    path = f".github/workflows/softlaunch-{workflow}.yml"
    return team.in_system(ACT, event, "--workflows", path, "--platform", "softlaunch=-self-hosted", *more)


def act_rollback(team: Team, ref: str) -> subprocess.CompletedProcess[str]:
    return act(
        team,
        "workflow_dispatch",
        "rollback",
        *("--input", f"ref={ref}", "--input", "environment=production", "--input", "reason=It's $(slow)"),
    )


@ci_tools.needs(ACT)
def test_the_github_workflow_ships_what_was_merged(team) -> None:
    commit, before = team.change(), team.live()

    done = act(team, "push", "ship")

    assert done.returncode == 0, done.stdout + done.stderr
    team.releases[commit] = team.live()
    assert before != team.live()


@ci_tools.needs(ACT)
def test_the_github_workflow_goes_back_to_a_commit(team) -> None:
    commit, digest = team.other()

    done = act_rollback(team, commit)

    assert done.returncode == 0, done.stdout + done.stderr
    assert digest == team.live()
    assert "It's $(slow) (" in team.machine.command("pins").out


@ci_tools.needs(ACT)
def test_the_github_workflow_refuses_a_reference_that_is_an_option(team) -> None:
    before = team.live()

    done = act_rollback(team, "--help")

    assert done.returncode != 0
    assert "That is no commit, tag or branch." in done.stdout + done.stderr
    assert before == team.live()


GITLAB = ci_tools.of_npm("gitlab-ci-local")


@ci_tools.needs(GITLAB, ci_tools.MODULES / "re2/build/Release/re2.node", programs=("rsync",))
def test_the_gitlab_pipeline_goes_back_to_a_commit(team) -> None:
    commit, digest = team.other()

    done = team.in_system(
        GITLAB,
        "softlaunch-rollback",
        "--force-shell-executor",
        *("--variable", "CI_PIPELINE_SOURCE=web"),
        *("--variable", f"ROLLBACK_REF={commit}"),
        *("--variable", "ROLLBACK_REASON=It's $(slow)"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert digest == team.live()
