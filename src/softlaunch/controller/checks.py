"""
A team's own checks during a rollout: which one is due, what its answers amount to.

    good        the value lies within the bounds; the URL answered 2xx
    broken      it does not; it answered something else
    no answer   neither: it does not count, and it ends no row

    PASSING     the latest answer that counts is good, and was asked for since the step began
    DOUBTED     the latest one is broken, but not yet `failure_count` in a row
    BROKEN      `failure_count` broken ones in a row
    UNANSWERED  none since the step began

Log decides, Runner asks. Asking blocks, so it happens in threads of its own; the log is written by one thread.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from softlaunch.core import spec
from softlaunch.ports import checks

ASKED = frozenset({spec.CheckKind.PROMQL, spec.CheckKind.HTTP})
"""Kinds somebody is asked for; expressions are streams of the judge."""

_NO_ANSWER = "no answer: "


class Verdict(enum.StrEnum):
    PASSING = "passing"
    DOUBTED = "doubted"
    BROKEN = "broken"
    UNANSWERED = "unanswered"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckReport:
    name: str
    enforcing: bool
    verdict: Verdict
    reason: str
    """One sentence without its full stop."""


@dataclasses.dataclass(kw_only=True)
class _Entry:
    asked_at: float | None = None
    good_asked_at: float | None = None
    """When the latest good answer was asked for; None when a broken one came after it."""
    broken_in_row: int = 0
    said: str = ""
    """The latest answer in words."""


class Log:
    """
    What the checks of one rollout said. Times are Unix seconds.

    Args:
        specs: The strategy's checks; expressions are left out.
        state: What `state` gave, to go on from; checks that are new since then begin, others are forgotten.
    """

    def __init__(self, specs: Iterable[spec.CheckSpec], state: Mapping[str, Any] | None = None) -> None:
        saved = state or {"step_at": 0.0, "entries": {}}
        self._specs = {check.name: check for check in specs if check.kind in ASKED}
        self._step_at = float(saved["step_at"])
        self._entries = {name: _Entry(**saved["entries"].get(name, {})) for name in self._specs}
        self._waiting: dict[str, float] = {}
        """Asked and not answered yet, since when; not saved: who starts afresh asks again."""

    def begin_step(self, now: float) -> None:
        """Another share: what was good before says nothing about it. Rows of broken answers go on."""
        self._step_at = now

    def due(self, now: float) -> tuple[spec.CheckSpec, ...]:
        """Checks to be asked now; never one that is being asked."""
        return tuple(
            check
            for name, check in self._specs.items()
            if name not in self._waiting and _is_due(self._entries[name].asked_at, check.every_seconds, now)
        )

    def asked(self, name: str, now: float) -> None:
        """Somebody is being asked."""
        self._waiting[name] = now
        self._entries[name].asked_at = now

    def answered(self, name: str, answer: checks.Answer) -> None:
        """The answer to what was asked last."""
        asked_at = self._waiting.pop(name, None)
        entry = self._entries.get(name)
        if entry is None or asked_at is None:
            return
        good, entry.said = _judged(self._specs[name], answer)
        if good is None:
            return
        entry.broken_in_row = 0 if good else entry.broken_in_row + 1
        entry.good_asked_at = asked_at if good else None

    def reports(self) -> tuple[CheckReport, ...]:
        """The verdict on each check."""
        return tuple(self._report(name) for name in self._specs)

    def state(self) -> dict[str, Any]:
        """A JSON document to go on from."""
        return {
            "step_at": self._step_at,
            "entries": {name: dataclasses.asdict(entry) for name, entry in self._entries.items()},
        }

    def _report(self, name: str) -> CheckReport:
        check, entry = self._specs[name], self._entries[name]
        if entry.broken_in_row >= check.failure_count:
            verdict, reason = Verdict.BROKEN, f"broken {entry.broken_in_row} times in a row, last: {entry.said}"
        elif entry.broken_in_row:
            verdict = Verdict.DOUBTED
            reason = f"broken {entry.broken_in_row} of {check.failure_count} times in a row, last: {entry.said}"
        elif entry.good_asked_at is not None and entry.good_asked_at >= self._step_at:
            verdict, reason = Verdict.PASSING, entry.said
        elif entry.good_asked_at is not None and not entry.said.startswith(_NO_ANSWER):
            verdict, reason = Verdict.UNANSWERED, f"no answer since the step began; before, {entry.said}"
        else:
            verdict, reason = Verdict.UNANSWERED, entry.said or "not asked yet"
        return CheckReport(name=name, enforcing=check.enforcing, verdict=verdict, reason=reason)


class Runner:
    """
    Asks what is due, without waiting for answers.

    Args:
        port: Who is asked.
        log: Of the rollout.
        names: See ports.checks.Checks.ask.
        threads: Where asking happens; may be shared.
    """

    def __init__(
        self, port: checks.Checks, log: Log, names: Mapping[str, str], threads: concurrent.futures.Executor
    ) -> None:
        self._port = port
        self._log = log
        self._names = dict(names)
        self._threads = threads
        self._asking: dict[str, concurrent.futures.Future[checks.Answer]] = {}

    def turn(self, now: float) -> bool:
        """Takes answers that have come, asks what is due; returns at once. True when an answer came."""
        come = [name for name, future in self._asking.items() if future.done()]
        for name in come:
            self._log.answered(name, self._asking.pop(name).result())
        for check in self._log.due(now):
            self._log.asked(check.name, now)
            self._asking[check.name] = self._threads.submit(self._port.ask, check, self._names)
        return bool(come)


def _is_due(asked_at: float | None, every_seconds: float, now: float) -> bool:
    # A clock that was set back must not silence a check until it has caught up.
    return asked_at is None or now >= asked_at + every_seconds or now < asked_at


def _judged(check: spec.CheckSpec, answer: checks.Answer) -> tuple[bool | None, str]:
    """Good, broken or (None) no answer; and the answer in words."""
    match answer:
        case checks.Unavailable(reason=reason):
            return None, f"{_NO_ANSWER}{reason}"
        case checks.Status(ok=ok, detail=detail):
            return ok, detail
        case checks.Value(value=value):
            if check.at_least is not None and value < check.at_least:
                return False, f"{value:g} is below {check.at_least:g}"
            if check.at_most is not None and value > check.at_most:
                return False, f"{value:g} is above {check.at_most:g}"
            return True, f"{value:g} is within its bounds"
