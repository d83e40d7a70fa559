"""
`make demo`: six releases of the flights example, launched one after the other under live traffic.

Uses the command line as a user does, and a load client as the users are. Release 1 goes live, 2 is promoted, four
bad ones are taken back. Ends with a table of what happened, leaves nothing running, and exits 1 when anything went
otherwise: another outcome, or a single request that failed for a user.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.table
import story

from softlaunch.testing import arrivals, outcomes, traffic

RATE_PER_SECOND = 250.0
COMMAND_SECONDS_MAX = 600.0
"""A guess: several times what a build or a launch takes on two busy cores."""

SETTLE_SECONDS = 2.0
"""Traffic goes on this long after a launch, so that its last failures count."""

WARM_SECONDS = 10.0
"""Traffic before the first launch: what counts as slow is learned from stable, and a cold one finds nothing slow."""

CONSOLE = rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else 118)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """What one launch did, and what its users saw meanwhile."""

    chapter: story.Chapter
    view: Mapping[str, Any]
    """The rollout, as `softlaunch deploy --json` printed it."""
    seconds: float
    request_count: int
    failed_count: int

    @property
    def stable_again_seconds(self) -> float | None:
        """From the first bad attempt until all traffic was on stable; None when either never happened."""
        measured = self.view.get("measured") or {}
        first, back = measured.get("first_bad_at"), measured.get("stable_again_at")
        return None if first is None or back is None else back - first

    @property
    def wrong(self) -> tuple[str, ...]:
        """What went otherwise than the story says; empty when nothing did."""
        found = []
        if self.view.get("outcome") != self.chapter.outcome:
            found.append(f"{self.chapter.tag} should be {self.chapter.outcome}, it is {self.view.get('outcome')}")
        if self.failed_count:
            found.append(f"{self.chapter.tag} cost users {self.failed_count} requests")
        return tuple(found)


class CommandError(Exception):
    """A softlaunch command ended as no story foresees."""


class Softlaunch:
    """The command line, in one home and one repository."""

    def __init__(self, home: pathlib.Path, repository: pathlib.Path, ports: Sequence[int]) -> None:
        names = ("SOFTLAUNCH_API_PORT", "SOFTLAUNCH_PRODUCTION_PORT", "SOFTLAUNCH_ENVIRONMENT_PORT_FIRST")
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith("SOFTLAUNCH_")}
        self._environment |= {"SOFTLAUNCH_HOME": str(home)}
        self._environment |= {name: str(port) for name, port in zip(names, ports, strict=True)}
        # Builds train and compare small models: with threads they take several times as long while traffic runs.
        self._environment.setdefault("OMP_NUM_THREADS", "1")
        self._repository = repository
        beside = pathlib.Path(sys.executable).parent / "softlaunch"
        self._program = str(beside) if beside.exists() else shutil.which("softlaunch")

    def __call__(self, *arguments: str, allowed: Sequence[int] = (0,)) -> dict[str, Any]:
        """
        Runs `softlaunch ARGUMENTS --json` in the repository.

        Raises:
            CommandError: it ended with another code than the allowed ones, or printed no JSON.
        """
        if self._program is None:
            raise CommandError("There is no `softlaunch` command. Install softlaunch first.")
        done = subprocess.run(
            [self._program, *arguments, "--json"],
            cwd=self._repository,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        command = "softlaunch " + " ".join(arguments)
        try:
            printed = json.loads(done.stdout)
        except ValueError as error:
            raise CommandError(f"`{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}") from error
        if done.returncode not in allowed:
            raise CommandError(f"`{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return dict(printed)


def play(softlaunch: Softlaunch, production_port: int, rate_per_second: float) -> tuple[list[Launch], outcomes.Report]:
    """The launches in order, and what all users saw from the moment release 1 was live."""
    first, *others = story.CHAPTERS
    build(softlaunch, first)  # makes the Python environment that all of them share
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as builders:
        list(builders.map(lambda chapter: build(softlaunch, chapter), others))
    started = time.monotonic()
    view = softlaunch("deploy", first.tag, "--env", "production", "--wait", "ended", allowed=(0, 1))
    launches = [
        Launch(chapter=first, view=view, seconds=time.monotonic() - started, request_count=0, failed_count=0),
    ]
    tell(launches[0])
    load = traffic.Load(
        traffic.Target(port=production_port),
        story.requests(),
        check=outcomes.Check(valid=story.valid),
    )
    with traffic.Background(load, arrivals.poisson(rate_per_second, seed=story.SEED)) as background:
        while load.tally().ok == 0 and load.tally().failed == 0:  # the flights are read first
            time.sleep(0.05)
        time.sleep(WARM_SECONDS)
        for chapter in others:
            launches.append(launch(softlaunch, chapter, load))
            tell(launches[-1])
    return launches, background.report


def build(softlaunch: Softlaunch, chapter: story.Chapter) -> None:
    """One release, tested and compiled, and the line that says so."""
    started = time.monotonic()
    built = softlaunch("build", chapter.tag)
    say(f"built    {chapter.tag} {short(built)} in {time.monotonic() - started:.0f} s: {chapter.subject}")


def launch(softlaunch: Softlaunch, chapter: story.Chapter, load: traffic.Load) -> Launch:
    """One release, from `deploy` until its rollout has ended, under the traffic that runs."""
    before, started = load.tally(), time.monotonic()
    view = softlaunch("deploy", chapter.tag, "--env", "production", "--wait", "ended", allowed=(0, 1))
    seconds = time.monotonic() - started
    time.sleep(SETTLE_SECONDS)
    after = load.tally()
    return Launch(
        chapter=chapter,
        view=view,
        seconds=seconds,
        request_count=after.planned - before.planned,
        failed_count=after.failed - before.failed,
    )


def table(launches: Sequence[Launch]) -> rich.table.Table:
    """What happened."""
    found = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("release", no_wrap=True)
    found.add_column("what is wrong with it", overflow="fold")
    found.add_column("outcome", no_wrap=True)
    found.add_column("first bad attempt\nto all on stable", justify="right", no_wrap=True)
    found.add_column("candidate\nrequests (bad)", justify="right", no_wrap=True)
    found.add_column("failed\nfor users", justify="right", no_wrap=True)
    for each in launches:
        measured = each.view.get("measured") or {}
        back = each.stable_again_seconds
        spent = measured.get("candidate_attempts") or 0
        found.add_row(
            each.chapter.tag,
            each.chapter.fault or "-",
            str(each.view.get("outcome")).replace("_", " "),
            "-" if back is None else f"{back:.2f} s",
            f"{spent:,} ({measured.get('candidate_bad') or 0:,})" if each.request_count else "-",
            f"{each.failed_count:,} of {each.request_count:,}" if each.request_count else "-",
        )
    return found


def tell(each: Launch) -> None:
    """One line for one launch."""
    outcome = str(each.view.get("outcome")).replace("_", " ")
    say(f"deployed {each.chapter.tag}: {outcome} after {each.seconds:.0f} s; {each.view.get('reason') or ''}")


def say(line: str) -> None:
    """A line with the time of day, seen at once."""
    CONSOLE.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False, soft_wrap=True)


def short(built: Mapping[str, Any]) -> str:
    """First twelve digits of what `softlaunch build` made."""
    return str(built["release"]).removeprefix("sha256:")[:12]


def free_ports(count: int) -> list[int]:
    """Different ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            found.append(int(listening.getsockname()[1]))
        return found


def tell_story(
    softlaunch: Softlaunch, repository: pathlib.Path, production_port: int, rate_per_second: float
) -> list[str]:
    """Plays everything and prints the table; what went otherwise."""
    story.create(repository)
    say(f"six commits in {repository}")
    up = softlaunch("up")
    say(f"up in {up['seconds']:.1f} s: production will listen on 127.0.0.1:{production_port}")
    launches, report = play(softlaunch, production_port, rate_per_second)
    CONSOLE.print(table(launches))
    say(
        f"users: {report.planned:,} requests, {report.failed:,} failed; "
        f"p50 {report.quantile(0.5) * 1e3:.1f} ms, p99 {report.quantile(0.99) * 1e3:.1f} ms",
    )
    wrong = [found for each in launches for found in each.wrong]
    stray = report.failed - sum(each.failed_count for each in launches)
    if stray:
        wrong.append(f"{stray} requests failed between launches")
    live = softlaunch("status")
    expected = next(each.view["candidate"] for each in launches if each.chapter.tag == "v2")
    found = {entry["stable"] for entry in live["services"] if entry["environment"] == "production"}
    if found != {expected}:
        wrong.append(f"production runs {found} at the end, not v2 ({expected})")
    return wrong


def tear_down(softlaunch: Softlaunch, repository: pathlib.Path, ports: Sequence[int]) -> list[str]:
    """Stops everything; what is left running, which should be nothing."""
    if not repository.exists():
        return []
    try:
        softlaunch("down")
    except (CommandError, subprocess.TimeoutExpired) as error:
        return [f"`softlaunch down` failed ({error})"]
    left = []
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                left.append(f"somebody still listens on port {port}")
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description="Six releases of the flights example under live traffic.")
    parser.add_argument("--rate", type=float, default=RATE_PER_SECOND, help="Requests per second.")
    parser.add_argument("--keep", action="store_true", help="Keep the folder with home, logs and repository.")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="softlaunch-demo-"))
    api, production, others = free_ports(3)
    repository = folder / "flight-delay"
    softlaunch = Softlaunch(folder / "home", repository, (api, production, others))
    try:
        wrong = tell_story(softlaunch, repository, production, options.rate)
    except (CommandError, subprocess.TimeoutExpired) as error:
        say(str(error))
        wrong = ["a command failed"]
    finally:
        stopped = tear_down(softlaunch, repository, (api, production))
        if options.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    wrong += stopped
    for each in wrong:
        say(f"WRONG: {each}.")
    if not wrong:
        say("Everything went as the story says, and nothing is left running.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
