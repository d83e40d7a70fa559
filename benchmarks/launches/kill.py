"""
kill -9 of every kind of process at every phase of a rollout, under load: does the rollout end as it should, does a user
notice, is an event counted twice or lost?

    python benchmarks/launches/kill.py --out benchmarks/results/kill.json

The answers of the second question come from the load client, those of the third from a second count of the whole
attempt log (recount.py). Phases are made long enough to be met: the candidate takes its time to load and to answer
smoke requests, and the drain lasts longer than a restart of the control plane.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import lab
import process_lab
import recount

from softlaunch.adapters.sql import store
from softlaunch.core import release, spec

RATE = 200.0
DRAIN_SECONDS = 3.0
DRAIN_SECONDS_RESTART = 12.0
"""Longer than a restart of the control plane: the load must end before the drain does, or nobody knows up to which line
the rollout has read the log."""

CANDIDATE = """
import os, time
time.sleep(2.0)
class Predictor:
    def predict(self, rows):
        if any(row["x0"] > 0 for row in rows):
            time.sleep(0.08)
        elif os.path.exists({flag!r}):
            raise ValueError("planted")
        return [{{"label": 1, "probability": 0.5}} for _ in rows]
"""
"""Slow to load and slow for smoke rows, so that these phases last; bad for live traffic once the flag file exists."""

PHASES = ("preparing", "verifying", "step 1", "step 2", "watching", "finishing")
VICTIMS = ("control plane", "stable replica", "candidate replica", "envoy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    victim: str
    phase: str
    bad: str = ""
    """Empty: a good candidate. `before`: bad from its first live request. `at the kill`: from the kill on."""

    @property
    def drain_seconds(self) -> float:
        ends_soon = self.phase in ("finishing", "returning") or self.bad == "at the kill"
        restarts = self.victim == "control plane" and ends_soon
        return DRAIN_SECONDS_RESTART if restarts else DRAIN_SECONDS

    @property
    def outcome(self) -> str:
        return "rolled_back" if self.bad else "promoted"

    @property
    def name(self) -> str:
        return f"{self.victim} at {self.phase}" + (f", bad {self.bad}" if self.bad else "")


@dataclasses.dataclass(kw_only=True)
class Result:
    case: Case
    rollout: int
    outcome: str
    reason: str
    restart_seconds: float | None
    unserved_seconds: float | None
    user_requests: int
    user_failed: int
    user_details: dict[str, int]
    candidate_attempts: int
    candidate_bad: int
    hold: str
    window: recount.Window
    closed: bool
    """The load had ended before the rollout did, so that its window in the log is exact."""
    history_after: dict[str, Any]
    differences: list[str] = dataclasses.field(default_factory=list)


def matrix() -> list[Case]:
    cases = [Case(victim="control plane", phase=phase) for phase in PHASES]
    cases += [
        Case(victim="control plane", phase="preparing", bad="before"),
        Case(victim="control plane", phase="verifying", bad="before"),
        Case(victim="control plane", phase="step 1", bad="at the kill"),
        Case(victim="control plane", phase="step 2", bad="at the kill"),
        Case(victim="control plane", phase="watching", bad="at the kill"),
        Case(victim="control plane", phase="returning", bad="before"),
    ]
    cases += [Case(victim="stable replica", phase=phase) for phase in PHASES]
    cases += [Case(victim="stable replica", phase="returning", bad="before")]
    cases += [Case(victim="candidate replica", phase=phase) for phase in PHASES]
    cases += [Case(victim="candidate replica", phase="returning", bad="before")]
    cases += [Case(victim="envoy", phase=phase) for phase in ("step 1", "watching")]
    return cases


def environment(drain_seconds: float) -> spec.EnvironmentSpec:
    """Steps that evidence lets pass within seconds, a watch window, and a drain as long as a request may take."""
    found = lab.strategy(steps=spec.shares(500, 4_000, 10_000), watch_seconds=3.0, acceptable_percent=4.0)
    return dataclasses.replace(found, request_timeout_seconds=drain_seconds)


class Bench:
    """Runs cases, one after the other, in one laboratory; the last promoted release is the next one's stable."""

    def __init__(self, laboratory: process_lab.ProcessLab) -> None:
        self.lab = laboratory
        self.results: list[Result] = []
        self._stable = laboratory.make("stable")
        view = laboratory.deploy(self._stable, environment(1.0))
        assert view["outcome"] == "promoted", view["reason"]
        with lab.load(laboratory.port, RATE):  # stable's history, which the latency guardrail needs
            time.sleep(3.0)

    def run(self, case: Case) -> Result:
        found = self.lab
        flag = found.directory / f"bad-{len(self.results)}"
        if case.bad == "before":
            flag.touch()
        candidate = found.make(f"candidate-{len(self.results)}", CANDIDATE.format(flag=str(flag)))
        self._await_quiet()
        begins, history = found.log_size(), found.history()
        number = found.start(candidate, environment(case.drain_seconds))
        restarted: float | None = None
        outage = _Outage(found.port)
        with lab.load(found.port, RATE) as report:
            _await(lambda: found.log_size() > begins, "an answer")
            found.when(number, lambda view: _standing(view) == case.phase)
            if case.bad == "at the kill":
                flag.touch()
            if case.victim == "control plane":
                found.kill_control_plane()
                restarted = found.up()
            elif case.victim == "envoy":
                with outage:
                    process_lab.kill(found.envoy_pid())
            else:
                self._kill_replica(candidate if case.victim == "candidate replica" else self._stable)
            view = self._end_in_sight(number)
        # The drain goes on without load: what the rollout has seen is what is in the log now.
        ends, ended_at = found.log_size(), time.time()
        hold = view["hold"]["kind"] if view["hold"] else ""
        if view["outcome"] is None and case.victim == "envoy":
            found.client.post(f"/v1/services/{lab.SERVICE}/{lab.ENVIRONMENT}/abort", {"by": "lab"})
        view = found.finished(number)
        result = Result(
            case=case,
            rollout=number,
            outcome=view["outcome"],
            reason=view["reason"],
            restart_seconds=restarted,
            unserved_seconds=outage.seconds,
            user_requests=report["planned"],
            user_failed=report["failed"],
            user_details={**report["statuses"], **report["details"], **report["outcomes"]},
            candidate_attempts=view["measured"]["candidate_attempts"],
            candidate_bad=view["measured"]["candidate_bad"],
            hold=hold,
            window=recount.Window(begins=begins, ends=ends, history=history),
            closed=view["finished_at"] > ended_at,
            history_after={},
        )
        self._await_quiet()
        result.history_after = found.history()
        if result.outcome == "promoted":
            self._stable = candidate
        self._await_replicas()
        self.results.append(result)
        return result

    def recount(self) -> None:
        """Compares every case with the log; the control plane must be down."""
        log = self.lab.home.gateway / "attempts.log"
        with store.SqlStore(self.lab.home.state_file) as saved:
            for result in self.results:
                record = saved.rollout(result.rollout)
                assert record is not None
                if not result.closed:
                    result.differences.append("the rollout ended before the load: its window is not known")
                    continue
                result.differences += recount.differences(record, list(saved.keys(record.id)), log, result.window)
                if result.outcome != "promoted" and record.stable is not None:
                    different = recount.history_difference(
                        record.stable.short, result.history_after, log, result.window
                    )
                    result.differences += [different] if different else []

    def _kill_replica(self, digest: release.Digest) -> None:
        def pids() -> list[int]:
            return [found["pid"] for found in self.lab.replicas(digest) if found["pid"]]

        _await(lambda: bool(pids()), "a process")  # preparing begins before there is one
        process_lab.kill(pids()[0])

    def _end_in_sight(self, number: int) -> dict[str, Any]:
        """The rollout drains, has ended, or is held for good."""
        return self.lab.when(
            number,
            lambda view: (
                view["phase"] in ("returning", "finishing")
                or view["outcome"] is not None
                or (view["hold"] is not None and view["hold"]["kind"] == "evidence_lost")
            ),
        )

    def _await_replicas(self) -> None:
        """All stable replicas are ready again, restarted without anybody's help."""
        ready = ["ready", "ready"]
        _await(lambda: [found["phase"] for found in self.lab.replicas(self._stable)] == ready, "two ready replicas")

    def _await_quiet(self) -> None:
        """Every line is read and saved: the log ends where the saved cursor stands."""
        time.sleep(1.0)


class _Outage:
    """How long after entering no prediction came back; waits for the first that does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seconds: float | None = None

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        while not process_lab.serves(self._port):
            time.sleep(0.01)
        self.seconds = time.monotonic() - self._began


def _await(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(process_lab.POLL_SECONDS)


def _standing(view: dict[str, Any]) -> str:
    return f"step {view['step'] + 1}" if view["phase"] == "stepping" else view["phase"]


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A laboratory with a stable release that has a history; recounted at the end."""
    with process_lab.laboratory() as found:
        made = Bench(found)
        yield made
        found.down()
        made.recount()


def wrong(result: Result) -> list[str]:
    """What is not as it should be in a case; empty when all is."""
    case = result.case
    found = list(result.differences)
    if case.victim == "envoy":
        if result.hold != "evidence_lost":
            found.append(f"the rollout was not held ({result.outcome}: {result.reason})")
        return found
    if result.user_failed:
        found.append(f"{result.user_failed} of {result.user_requests} requests failed: {result.user_details}")
    # A killed candidate replica is evidence against the candidate: taking it back is right, too.
    if result.outcome != case.outcome and not (case.victim == "candidate replica" and result.outcome == "rolled_back"):
        found.append(f"it was {result.outcome}: {result.reason}")
    return found


def document(result: Result) -> dict[str, Any]:
    return {
        "case": result.case.name,
        "victim": result.case.victim,
        "outcome": result.outcome,
        "expected": "held" if result.case.victim == "envoy" else result.case.outcome,
        "reason": result.reason,
        "hold": result.hold,
        "restart_seconds": result.restart_seconds,
        "unserved_seconds": result.unserved_seconds,
        "user_requests": result.user_requests,
        "user_failed": result.user_failed,
        "candidate_attempts": result.candidate_attempts,
        "candidate_bad": result.candidate_bad,
        "wrong": wrong(result),
    }


def line(result: Result) -> str:
    """One row of the table people read while it runs."""
    seconds = result.restart_seconds or result.unserved_seconds
    return (
        f"{result.case.name:<44} {result.outcome:<12} {result.user_failed:>4} of {result.user_requests:<6} failed  "
        f"{'' if seconds is None else f'{seconds:.1f} s':<7} {result.reason[:60]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="only these; others in --out stay")
    parser.add_argument("--phase", action="append")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.victim and options.out and options.out.exists() else []
    for victim in options.victim or VICTIMS:
        with bench() as made:  # a laboratory each: what one breaks does not cost the others their recount
            for case in matrix():
                if case.victim == victim and case.phase in (options.phase or [case.phase]):
                    print(line(made.run(case)), flush=True)
        fresh = [document(result) for result in made.results]
        rows = [row for row in rows if row["victim"] != victim] + fresh
        for row in fresh:
            if row["wrong"]:
                print(f"WRONG {row['case']}: " + "; ".join(row["wrong"])[:2000], flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(rows)} cases, {sum(bool(row['wrong']) for row in rows)} wrong")


if __name__ == "__main__":
    main()
