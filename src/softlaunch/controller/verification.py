"""
Verification: requests sent straight to a candidate that no user reaches yet.

In this order, each only when the one before it has passed: smoke requests made from the reference, requests recorded in
another environment, a load test. All of it is done in a thread of its own, is stopped at once when the rollout is
paused, held or ended, and begins again when it goes on: half a verification is none.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller import load_check, recorded_check, verify_outcomes
from softlaunch.controller import shelf as shelves
from softlaunch.core import release, verify_specs
from softlaunch.core.rollout import messages
from softlaunch.ports import clock as clocks
from softlaunch.ports import loads, sender, store
from softlaunch.ports import prober as probers
from softlaunch.ports import spool as spools

SMOKE_ROWS_DEFAULT = 10
LOAD_RECORDED_COUNT = 500
"""Different recorded requests in a load test; a guess."""
LOAD_RECORDED_SECONDS = 7 * 86_400.0

Report = Callable[[store.RolloutRecord, Mapping[str, Any]], None]
Event = messages.VerifyPassed | messages.VerifyFailed | messages.VerifyInvalid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Who verifies: nobody of them is asked for smoke requests alone."""

    prober: probers.Prober
    spool: spools.Spool
    senders: sender.Senders
    loads: loads.Loads
    clock: clocks.Clock
    report: Report
    """Told of every load test that has a verdict, as evidence of the release."""


class _StoppedError(Exception):
    """The rollout was paused, held or ended."""


class _Work:
    """One verification that runs."""

    def __init__(
        self, record: store.RolloutRecord, sockets: Sequence[str], lives: Mapping[str, store.LiveRecord]
    ) -> None:
        self.record = record
        self.sockets = tuple(sockets)
        self.lives = dict(lives)
        self.stopped = threading.Event()
        self.progress = ""
        self.future: concurrent.futures.Future[Event | None]

    def tell(self, text: str) -> None:
        self.progress = text

    def wait(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise _StoppedError


class _Clock:
    """A clock that raises when the work is stopped."""

    def __init__(self, clock: clocks.Clock, work: _Work) -> None:
        self._clock = clock
        self._work = work

    def now(self) -> float:
        self._look()
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        self._look()

    def _look(self) -> None:
        if self._work.stopped.is_set():
            raise _StoppedError


class Verifier:
    """
    Asks candidates, without waiting for answers.

    Args:
        shelf: Has the rows.
        neighbours: Send them.
        threads: Where sending happens.
    """

    def __init__(self, shelf: shelves.Shelf, neighbours: Neighbours, threads: concurrent.futures.Executor) -> None:
        self._shelf = shelf
        self._neighbours = neighbours
        self._threads = threads
        self._running: dict[int, _Work] = {}

    def event(
        self, record: store.RolloutRecord, sockets: Sequence[str], lives: Mapping[str, store.LiveRecord]
    ) -> Event | None:
        """
        What came of the verification of a rollout, once; None while it runs or the rollout is stopped.

        Args:
            record: The rollout, which is VERIFYING.
            sockets: Of its candidate's replicas, the first one first.
            lives: What is live of the service, by environment.
        """
        if record.state.paused or record.state.hold is not None:
            self.stop(record.id)
            return None
        work = self._running.get(record.id)
        if work is None:
            work = self._running[record.id] = _Work(record, sockets, lives)
            work.future = self._threads.submit(self._run, work)
        if not work.future.done():
            return None
        del self._running[record.id]
        return work.future.result()

    def progress(self, rollout_id: int) -> str:
        """How far the verification is, for people; empty when it does not run, or has nothing to say."""
        work = self._running.get(rollout_id)
        return work.progress if work is not None else ""

    def stop(self, rollout_id: int) -> None:
        """Nothing more is sent for this rollout; asked again, its verification begins again."""
        work = self._running.pop(rollout_id, None)
        if work is not None:
            work.stopped.set()

    def stop_all(self) -> None:
        """As `stop`, for every rollout."""
        for rollout_id in tuple(self._running):
            self.stop(rollout_id)

    def _run(self, work: _Work) -> Event | None:
        try:
            smoked = self._smoke(work.record, work.sockets[0])
            if work.record.spec.verify is None or isinstance(smoked, messages.VerifyFailed):
                return smoked
            return self._further(work, work.record.spec.verify, smoked)
        except _StoppedError:
            return None  # nobody asks for it any more

    def _further(self, work: _Work, wanted: verify_specs.VerifySpec, smoked: messages.VerifyPassed) -> Event:
        said = [smoked.detail]
        measured: dict[str, Any] = {}
        try:
            for name, found in self._results(work, wanted):
                said.append(found.said)
                if found.measured:
                    measured[name] = found.measured
                if found.passed is None:
                    return messages.VerifyInvalid(reason=found.said, measured=measured)
                if not found.passed:
                    return messages.VerifyFailed(reason=found.said, measured=measured)
        except errors.SoftlaunchError as error:  # ours or the machine's: it says nothing of the candidate
            return messages.VerifyInvalid(reason=str(error), measured=measured)
        return messages.VerifyPassed(detail=" ".join(said), measured=measured)

    def _results(self, work: _Work, wanted: verify_specs.VerifySpec) -> Iterator[tuple[str, verify_outcomes.Outcome]]:
        if wanted.replay is not None:
            yield (
                "replay",
                recorded_check.check(
                    wanted.replay,
                    work.record,
                    work.lives.get(wanted.replay.environment),
                    sockets=work.sockets,
                    recordings=self._neighbours.spool,
                    senders=self._neighbours.senders,
                    clock=_Clock(self._neighbours.clock, work),
                    tell=work.tell,
                ),
            )
        if wanted.load is not None:
            yield "load", self._load(work, wanted.load)

    def _load(self, work: _Work, wanted: verify_specs.LoadSpec) -> verify_outcomes.Outcome:
        note = ""
        requests: list[loads.Request] = []
        if wanted.environment is not None:
            requests = self._recorded(work.lives.get(wanted.environment))
            note = "" if requests else f"Nothing that could be sent is recorded in {wanted.environment} yet"
        if not requests:
            requests = load_check.of_rows(self._shelf.smoke_rows(work.record.candidate))
            if not requests and not note:
                raise errors.InvariantError("a load test has neither rows nor recorded requests to send.")
            if not requests:
                return verify_outcomes.Outcome(passed=True, said=f"{note}, so no load test was made.")
            note = f"{note}: the load test sent rows of the reference. " if note else ""
        job = loads.Job(
            sockets=work.sockets,
            requests=requests,
            load=wanted,
            seed=work.record.id,
            timeout_seconds=work.record.spec.request_timeout_seconds,
        )
        found = load_check.check(job, tests=self._neighbours.loads, wait=work.wait, tell=work.tell)
        if found.passed is not None:
            self._neighbours.report(work.record, found.measured)
        return dataclasses.replace(found, said=f"{note}{found.said}")

    def _recorded(self, source: store.LiveRecord | None) -> list[loads.Request]:
        if source is None:
            return []
        now = self._neighbours.clock.now()
        found = recorded_check.newest(
            self._neighbours.spool, source, count=LOAD_RECORDED_COUNT, since=now - LOAD_RECORDED_SECONDS, until=now
        )
        return load_check.of_records(found.records)

    def _smoke(self, record: store.RolloutRecord, socket: str) -> messages.VerifyPassed | messages.VerifyFailed:
        try:
            rows = self._shelf.smoke_rows(record.candidate)
            if not rows:
                _, content = self._shelf.take(record.candidate)
                if content.runtime in (release.Runtime.ASGI, release.Runtime.COMMAND):
                    how = f"{content.ready_path} answers 2xx" if content.ready_path else "it has started"
                    return messages.VerifyPassed(detail=f"Ready: {how}. An app has no rows to make requests from.")
                if record.state.plan.verified_only:
                    return messages.VerifyFailed(
                        reason="This environment passes by smoke requests, and the release has no reference rows to "
                        "make them from. Give `reference:` in softlaunch.yaml.",
                    )
                return messages.VerifyPassed(detail="Ready; no reference rows, so no smoke requests were made.")
            wanted = record.spec.verify.request_count if record.spec.verify else SMOKE_ROWS_DEFAULT
            report = self._neighbours.prober.smoke(socket, [rows[index % len(rows)] for index in range(wanted)])
        except errors.SoftlaunchError as error:
            return messages.VerifyFailed(reason=str(error))
        if report.failed:
            return messages.VerifyFailed(
                reason=f"{report.failed} of {report.sent} smoke requests failed. First: {report.first_failure}"
            )
        return messages.VerifyPassed(detail=f"{report.sent} of {report.sent} smoke requests passed.")
